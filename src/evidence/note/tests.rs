use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::names::Origin;
use crate::time::Time;

const VKEY: &str = include_str!("../testdata/vectors/vkeys.txt");
const CP5: &str = include_str!(
    "../testdata/vectors/_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/cp/00000000000000000005.txt"
);
const CP8: &str = include_str!(
    "../testdata/vectors/_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/cp/00000000000000000008.txt"
);
const ENTRY_3: usize = 3;

fn vkey() -> Vkey {
    VKEY.trim().parse().expect("a key")
}

fn signer() -> Signer {
    let mut seed = [0; 32];
    for (i, byte) in (0..).zip(&mut seed) {
        *byte = i;
    }
    Signer::from_seed(&seed).expect("a key")
}

fn origin() -> Origin {
    vkey().name().parse().expect("an origin")
}

#[test]
fn the_vectors_key_is_its_text() {
    let vkey = vkey();
    assert_eq!(vkey.to_string(), VKEY.trim());
    assert_eq!(hex(&vkey.id()), "5d6e9680");
    assert_eq!(
        hex(vkey.public()),
        "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    );
    assert_eq!(signer().vkey(vkey.name()), Ok(vkey.clone()));
    let good = VKEY.trim();
    for bad in [
        "",
        "a+b",
        &good.replace("5d6e9680", "5d6e9681"),
        &good.replace("gw-0", "gw-1"),
        &good[..good.len() - 4],
        &good.replace("+AQ", "+Ag"),
        &good.replace("gw-0", "gw 0"),
    ] {
        assert!(bad.parse::<Vkey>().is_err(), "{bad}");
    }
}

#[test]
fn the_vectors_heads_are_signed_again_byte_for_byte() {
    let check = |text: &str, size: u64, root: &str| {
        let root: Digest = root.parse().expect("a digest");
        let note = Note::parse(text.as_bytes()).expect("a note");
        assert_eq!(note.to_string(), text);
        assert_eq!(note.signed_by(&vkey()), Signed::Yes);
        assert_eq!(
            note.signed_by(&vkey().named("other").expect("a name")),
            Signed::No
        );
        let head = Checkpoint::parse(note.text()).expect("a head");
        let expected = Checkpoint {
            origin: vkey().name().to_owned(),
            size,
            root,
        };
        assert_eq!(head, expected);
        let again = SignedHead::new(&origin(), size, root, &[&signer()]).expect("a head");
        assert_eq!(again.note, text);
        assert_eq!(
            again.key,
            format!("_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/cp/{size:020}.txt")
        );
    };
    check(
        CP5,
        5,
        "dc1fffaa155e405bd03e92a237ddff7a2c2d504cf892a5b9deaebc05d5b35759",
    );
    check(
        CP8,
        8,
        "1f092f078ec5ffd9cc0ebfd99abc0c5597fb171f0011e76cbe6f1e0abf0c6b1d",
    );
}

#[test]
fn two_keys_sign_while_one_follows_the_other() {
    let next = Signer::generate().expect("a key");
    let root = Digest([7; 32]);
    let head = SignedHead::new(&origin(), 9, root, &[&signer(), &next]).expect("a head");
    let note = Note::parse(head.note.as_bytes()).expect("a note");
    let next = next.vkey(origin().as_str()).expect("a name");
    assert_eq!(note.signed_by(&vkey()), Signed::Yes);
    assert_eq!(note.signed_by(&next), Signed::Yes);
    // A second signature in one name that does not hold spoils the first.
    let forged = note.signatures()[0].bytes.iter().map(|b| b ^ 1).collect();
    let mut spoiled = note.clone();
    spoiled.signatures.push(NoteSignature {
        bytes: forged,
        ..note.signatures()[0].clone()
    });
    assert_eq!(spoiled.signed_by(&vkey()), Signed::Wrong);
    assert_eq!(spoiled.signed_by(&next), Signed::Yes);
    let one = signer();
    let all = [&one; 17];
    assert!(SignedHead::new(&origin(), 9, root, &all).is_err());
}

#[test]
fn what_is_no_note_is_refused() {
    let (text, signature) = CP5.split_once("\n\n").expect("two parts");
    let many = format!("{text}\n\n{}", signature.repeat(17));
    for bad in [
        "",
        text,
        &CP5[..CP5.len() - 1],
        &CP5.replace('\u{2014}', "-"),
        &CP5.replace("XW6W", "XW6*"),
        &CP5.replace('5', "\t"),
        &many,
        "text\n\n\u{2014} a AAA=\n",
        "text\n\n",
    ] {
        assert!(Note::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Note::parse(b"a\n\n\xff").is_err());
    assert!(Note::parse(&vec![b'\n'; NOTE_BYTES_MAX + 1]).is_err());
    for bad in [
        "",
        "a\n5\n",
        "a\n05\n3B//qhVeQFvQPpKiN93/eiwtUEz4kqW53q68BdWzV1k=\n",
    ] {
        assert!(Checkpoint::parse(bad).is_err(), "{bad}");
    }
    let root = "3B//qhVeQFvQPpKiN93/eiwtUEz4kqW53q68BdWzV1k=";
    assert!(Checkpoint::parse(&format!("a\n5\n{root}\n")).is_ok());
    for bad in [
        format!("a\n5\n{root}\nmore\n"),
        format!("a\n+5\n{root}\n"),
        format!("a\n18446744073709551616\n{root}\n"),
        format!("a\n5\n{}\n", &root[..40]),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn keys_come_from_text_and_say_nothing() {
    let signer = signer();
    let pem = signer.to_pem().expect("a text");
    // As `openssl genpkey` writes this seed.
    assert_eq!(
        *pem,
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
         -----END PRIVATE KEY-----\n"
    );
    assert_eq!(Signer::from_text(&pem).expect("a key").public(), signer.public());
    assert_eq!(format!("{signer:?}"), "Signer");
    let seed: Vec<u8> = std::iter::once(1).chain(0..32).collect();
    let seed = codec::base64::encode(Alphabet::Standard, &seed);
    let text = format!("PRIVATE+KEY+{}+5d6e9680+{seed}\n", vkey().name());
    assert_eq!(Signer::from_text(&text).expect("a key").public(), signer.public());
    let check = |text: &str, expected: SignerError| assert_eq!(Signer::from_text(text).err(), Some(expected));
    check("", SignerError::Form);
    check("PRIVATE+KEY+x", SignerError::Form);
    check(&text.replace("5d6e9680", "5d6e9681"), SignerError::Id);
    check("PRIVATE+KEY+x+5d6e9680+AQ==", SignerError::Key);
    check(&pem.replace("MC4C", "MC4*"), SignerError::Form);
    check(&pem.replace("MC4C", "MC4D"), SignerError::Key);
    let other = Signer::generate().expect("a key");
    assert_ne!(other.public(), signer.public());
}

#[test]
fn a_root_vouches_for_writers() {
    let root = Signer::generate().expect("a key");
    let trusted = [root.vkey("logs.example.com/prod").expect("a name")];
    let endorsement = Endorsement {
        archive: "logs.example.com/prod".to_owned(),
        writer: "gw-0".to_owned(),
        public: *signer().public(),
        from: "2025-11-20T00:00:00.000Z".parse().expect("a time"),
        until: "2026-11-20T00:00:00.000Z".parse().expect("a time"),
    };
    assert_eq!(
        endorsement.text(),
        "weir.dev/writer-key/v1\narchive logs.example.com/prod\nwriter gw-0\n\
         pub A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\n\
         from 2025-11-20T00:00:00.000Z\nuntil 2026-11-20T00:00:00.000Z\n"
    );
    let note = endorsement.sign(&root).expect("a note");
    assert_eq!(
        Endorsement::verify(note.as_bytes(), &trusted),
        Ok(endorsement.clone())
    );
    let strange = endorsement.sign(&signer()).expect("a note");
    assert!(Endorsement::verify(strange.as_bytes(), &trusted).is_err());
    assert!(Endorsement::verify(note.replace("gw-0", "gw-1").as_bytes(), &trusted).is_err());
    let covers = |archive: &str, writer: &str, at: &str| {
        let at: Time = at.parse().expect("a time");
        endorsement.covers(archive, writer, signer().public(), at)
    };
    assert!(covers(
        "logs.example.com/prod",
        "gw-0",
        "2025-11-20T00:00:00.000Z"
    ));
    assert!(!covers(
        "logs.example.com/prod",
        "gw-1",
        "2025-11-20T00:00:00.000Z"
    ));
    assert!(!covers("logs.example.com", "gw-0", "2025-11-20T00:00:00.000Z"));
    assert!(!covers(
        "logs.example.com/prod",
        "gw-0",
        "2025-11-19T23:59:59.999Z"
    ));
    assert!(!covers(
        "logs.example.com/prod",
        "gw-0",
        "2026-11-20T00:00:00.000Z"
    ));
    let any = Endorsement {
        writer: "*".to_owned(),
        ..endorsement.clone()
    };
    assert!(any.covers(&any.archive, "gw-7", signer().public(), any.from));
    for bad in ["writer", "writer a b", "writer GW"] {
        let text = endorsement.text().replace("writer gw-0", bad);
        assert!(Endorsement::parse(&text).is_err(), "{bad}");
    }
    assert!(Endorsement::parse(&format!("{}more\n", endorsement.text())).is_err());
}

#[test]
fn policies_say_whom_to_trust() {
    let root = vkey().named("logs.example.com/prod").expect("a name");
    let text = format!(
        "# ours\n\nlog {vkey}\nroot {root}\npin {origin} 8 HwkvB47F/9nMDr/ZmrwMVZf7Fx8AEedsvm8eCr8Max0=\n\
         revoked 5d6e9680 from-size 9\nwitness w1 {vkey}\ngroup g any w1\nquorum none\n",
        vkey = vkey(),
        origin = origin()
    );
    let policy = Policy::parse(&text).expect("a policy");
    assert_eq!(policy.logs, [vkey()]);
    assert_eq!(policy.roots, [root]);
    assert_eq!(policy.pins.len(), 1);
    assert_eq!((policy.pins[0].size, &policy.pins[0].origin), (8, &origin()));
    assert_eq!(
        policy.revoked,
        [Revocation {
            id: vkey().id(),
            from_size: 9
        }]
    );
    assert_eq!(policy.witnesses, [("w1".to_owned(), vkey())]);
    assert_eq!(policy.archive(), Some("logs.example.com/prod"));
    let check = |line: &str, what: &str| {
        let error = Policy::parse(&format!("quorum none\n{line}\n")).expect_err(line);
        assert_eq!((error.line, error.what.contains(what)), (2, true), "{error}");
    };
    check("log", "log, root, pin");
    check("logs x", "log, root, pin");
    check("log a+b+c", "base64");
    check("quorum g", "quorum none");
    check("group g any w1", "group");
    check("pin x 8 y", "pin");
    check(
        &format!("pin {} -8 HwkvB47F/9nMDr/ZmrwMVZf7Fx8AEedsvm8eCr8Max0=", origin()),
        "pin",
    );
    check("revoked 5D6E9680 from-size 9", "revoked");
    check("revoked 5d6e9680 9", "log, root, pin");
    check(&format!("witness none {}", vkey()), "twice");
    assert!(Policy::parse(&"#\n".repeat(1 << 20)).is_err());
    let other = vkey().named("elsewhere").expect("a name");
    let two = Policy::parse(&format!("log {}\nroot {other}\n", vkey())).expect("a policy");
    assert_eq!(two.archive(), None);
}

#[test]
fn one_object_is_proven_offline() {
    let segments = [
        include_str!(
            "../testdata/vectors/_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/seg/00000000000000000000.jsonl"
        ),
        include_str!(
            "../testdata/vectors/_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/seg/00000000000000000005.jsonl"
        ),
    ];
    let lines: Vec<&str> = segments.iter().flat_map(|s| s.lines()).collect();
    let leaves: Vec<Digest> = lines
        .iter()
        .map(|l| crate::tree::leaf_hash(l.as_bytes()))
        .collect();
    let proof = Proof {
        extra: Some(lines[ENTRY_3].as_bytes().to_vec()),
        index: 3,
        hashes: crate::tree::prove_inclusion(&leaves, ENTRY_3).expect("a leaf"),
        note: CP8.to_owned(),
    };
    let text = proof.text();
    assert!(text.len() < 1_800, "{}", text.len());
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "));
    let again = Proof::parse(text.as_bytes()).expect("a proof");
    assert_eq!(again, proof);
    let line = lines[ENTRY_3].as_bytes();
    assert_eq!(again.verify(line, &[vkey()]).map(|head| head.size), Ok(8));
    assert!(again.verify(lines[2].as_bytes(), &[vkey()]).is_err());
    assert!(again.verify(line, &[]).is_err());
    let bare = Proof { extra: None, ..proof };
    assert_eq!(Proof::parse(bare.text().as_bytes()), Ok(bare.clone()));
    assert!(bare.verify(lines[2].as_bytes(), &[vkey()]).is_err());
    for bad in [
        text.replace("@v1", "@v2"),
        text.replace("index 3", "index -3"),
        text.replace("\n\n", "\n"),
        text.replace("2xj+", "2xj"),
        text.replace("extra ", "extra *"),
    ] {
        assert!(Proof::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    for other in [text.replace("index 3", "index 4"), text.replace("2xj+", "2xk+")] {
        let other = Proof::parse(other.as_bytes()).expect("a proof");
        assert!(other.verify(line, &[vkey()]).is_err());
    }
}

proptest! {
    #[test]
    fn a_changed_head_is_never_taken_for_signed(at in 0usize..273, byte: u8) {
        let mut bytes = CP8.as_bytes().to_vec();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(note) = Note::parse(&bytes) {
            prop_assert_ne!(note.signed_by(&vkey()), Signed::Yes);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", lines in "([a-z ]{0,12}\n){0,6}") {
        let _ = Note::parse(text.as_bytes());
        let _ = text.parse::<Vkey>();
        let _ = Signer::from_text(&text);
        let _ = Endorsement::parse(&format!("weir.dev/writer-key/v1\n{lines}"));
        let _ = Policy::parse(&lines);
        let _ = Proof::parse(format!("c2sp.org/tlog-proof@v1\n{lines}\n{text}").as_bytes());
    }
}
