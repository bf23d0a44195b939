use proptest::prelude::*;

use super::*;

/// The picks, each by its text.
fn picked(xml: &str, xpath: &str) -> String {
    let tree = Tree::read(xml).expect("it is XML");
    let picks = XPath::new(xpath).and_then(|path| path.pick(&tree).map_err(|e| e.to_string()));
    match picks {
        Err(error) => format!("refused: {error}"),
        Ok(picks) => {
            let texts: Vec<_> = picks.into_iter().map(|pick| text_of(&tree, pick)).collect();
            texts.join(",")
        }
    }
}

const DOC: &str = "<r xml:lang='de-AT'><a i='1'>x</a><a i='2'>y<b>5</b><b>7</b></a><!--c--><?go now?><n:d xmlns:n='u'>z</n:d><e><f>q</f></e></r>";

#[test]
fn every_axis() {
    let check = |xpath: &str, expected: &str| assert_eq!(picked(DOC, xpath), expected, "{xpath}");
    check("//b[1]/ancestor::a/@i", "2");
    check("count(//b)", "");
    check("//b[2]/ancestor-or-self::*[1]", "7");
    check("//b[2]/ancestor-or-self::*[2]/@i", "2");
    check("//a/attribute::i", "1,2");
    check("/child::r/child::a[2]/child::b", "5,7");
    check("//a[2]/descendant::text()", "y,5,7");
    check("//a[2]/descendant-or-self::*[last()]", "7");
    check("//a[1]/following::b", "5,7");
    check("//a[1]/@i/following::*[1]/@i", "2");
    check("//e/preceding::b[1]", "7");
    check("//f/preceding::*[1]", "z");
    check("//a[1]/following-sibling::*[1]/@i", "2");
    check("//e/preceding-sibling::*[1]", "z");
    check("//e/preceding-sibling::a[1]/@i", "2");
    check("//e/preceding-sibling::a[2]/@i", "1");
    check("//b/parent::a/@i", "2");
    check("//b/parent::e", "");
    check("//a/self::a[@i = 1]", "x");
    check("//b/..//@i", "2");
    check("//@i/..//b", "5,7");
    check("//@i/ancestor::r/e", "q");
    check("/..", "");
    check("//n:d", "z");
    check("//n:*", "z");
    check("//d", "");
    check("//*[local-name() = 'd']", "z");
    check("//*[namespace-uri() = 'u']", "z");
    check("//*[name(.) = 'n:d']", "z");
    check("//comment()", "");
    check("//processing-instruction()/following-sibling::*[1]", "z");
    check("//processing-instruction('go')/following-sibling::*[1]", "z");
    check("//processing-instruction('stop')/following-sibling::*", "");
    check("//node()/@i", "1,2");
    check("(//a | //f)[2]/@i", "2");
    check("(//a)[last()]//b[2]", "7");
    check("//e/f | //a/@i | //b", "1,2,5,7,q");
}

#[test]
fn every_operator_and_function() {
    let check = |condition: &str, expected: bool| {
        let found = picked(DOC, &format!("/r/e[{condition}]"));
        assert_eq!(found, if expected { "q" } else { "" }, "{condition}");
    };
    for condition in [
        "1 + 2 * 3 = 7",
        "(1 + 2) * 3 = 9",
        "7 div 2 = 3.5",
        "7 mod 4 = 3",
        "-7 mod 4 = -3",
        "1 - 1 = 0",
        "- -1 = 1",
        "--1 = 1",
        "2 > 1 and 1 < 2 and 2 >= 2 and 1 <= 1 and 1 != 2",
        "false() or true()",
        "not(false())",
        "1 = 1 = true()",
        "//b = 7",
        "//b != 7",
        "//b > 5",
        "not(//b > 7)",
        "//b = '5'",
        "//b < //b",
        "//a/@i = //a/@i",
        "'a' = 'a'",
        "true() = 'a'",
        "//nothing = false()",
        "not(//nothing = '')",
        "not('a' < 'b')",
        "'1' < '2'",
        "boolean('false')",
        "not(boolean(''))",
        "not(boolean(0 div 0))",
        "string(1 div 0) = 'Infinity'",
        "string(-1 div 0) = '-Infinity'",
        "string(0 div 0) = 'NaN'",
        "string(-0) = '0'",
        "string(1.50) = '1.5'",
        "string(100000000000000000000) = '100000000000000000000'",
        "string(true()) = 'true'",
        "string(//b) = '5'",
        "string() = 'q'",
        "number(' 12.5 ') = 12.5",
        "number('.5') = 0.5 and number('5.') = 5",
        "string(number('1e3')) = 'NaN'",
        "string(number('+1')) = 'NaN'",
        "number(true()) = 1",
        "sum(//b) = 12",
        "count(//a) = 2",
        "count(//a | //a) = 2",
        "floor(-1.5) = -2 and ceiling(-1.5) = -1",
        "round(2.5) = 3 and round(-2.5) = -2 and round(1.4) = 1",
        "concat('a', 1, true()) = 'a1true'",
        "starts-with('abc', 'ab') and not(starts-with('abc', 'b'))",
        "ends-with('abc', 'bc')",
        "contains('abc', 'b') and contains('abc', '')",
        "substring-before('1999/04/01', '/') = '1999'",
        "substring-after('1999/04/01', '/') = '04/01'",
        "substring-after('abc', 'x') = ''",
        "substring('12345', 2, 3) = '234'",
        "substring('12345', 2) = '2345'",
        "substring('12345', 1.5, 2.6) = '234'",
        "substring('12345', 0, 3) = '12'",
        "substring('12345', 0 div 0, 3) = ''",
        "substring('12345', -42, 1 div 0) = '12345'",
        "substring('12345', -1 div 0, 1 div 0) = ''",
        "substring('äöü', 2, 1) = 'ö'",
        "string-length('äö') = 2",
        "string-length() = 1",
        "normalize-space('  a \n b ') = 'a b'",
        "translate('bar', 'abc', 'AB') = 'BAr'",
        "translate('--aaa--', 'abc-', 'ABC') = 'AAA'",
        "lower-case('ABC') = 'abc'",
        "matches('abc1', '^[a-z]+\\d$')",
        "replace('a1b2', '([a-z])(\\d)', '$2$1') = '1a2b'",
        "string-join(//b, '-') = '5-7'",
        "count(reverse(//b)) = 2",
        "lang('de') and lang('DE-at') and not(lang('d'))",
        "count(id('x')) = 0",
        "position() = 1 and last() = 1",
        "name() = 'e' and local-name(//n:d) = 'd'",
        "name(//nothing) = ''",
        "namespace-uri(//n:d) = 'u' and namespace-uri() = ''",
        "not(.//g)",
        "f",
        "../a[2]/b[. = 7]",
        "/r/a[b][@i='2']",
        "1",
        "last()",
        "'text'",
    ] {
        check(condition, true);
    }
    check("2", false);
    check("''", false);
    check("f[2]", false);
}

#[test]
fn names_that_are_operators_elsewhere() {
    let xml = "<div><or>1</or><and>2</and><mod>3</mod><text>4</text><a-b>5</a-b></div>";
    let check = |xpath: &str, expected: &str| assert_eq!(picked(xml, xpath), expected, "{xpath}");
    check("/div/or", "1");
    check("div/and", "2");
    check("/div[or or and]/mod", "3");
    check("div[mod mod and = 1]/or", "1");
    check("div[or*and = 2]/or", "1");
    check("/*/*[3]", "3");
    check("/div/text", "4");
    check("/div/a-b", "5");
    check("/div[a-b - or = 4]/or", "1");
    check("/div[5 -or = 4]/or", "1");
    check(" / div / or ", "1");
    check("/div/child :: or", "1");
}

#[test]
fn what_is_no_xpath_is_refused() {
    let check = |xpath: &str, expected: &str| {
        assert_eq!(picked("<a/>", xpath), format!("refused: {expected}"), "{xpath}");
    };
    check("", "the XPath lacks a name before \"\"");
    check("/a[", "the XPath lacks a name before \"\"");
    check("/a]", "the XPath is not understood from \"]\" on");
    check("//", "the XPath lacks a name before \"\"");
    check("a/", "the XPath lacks a name before \"\"");
    check("'a", "the XPath ends within a text");
    check("1.2.3", "\"1.2.3\" is no number");
    check("$x", "there are no variables in an XPath here");
    check("namespace::a", "there is no axis namespace in an XPath here");
    check("up::a", "there is no axis up in an XPath here");
    check("frob(1)", "there is no function frob() in XPath");
    check("not()", "not() does not take 0 arguments");
    check("count(1)", "count() takes nodes");
    check("1 | a", "only nodes can be united with \"|\"");
    check("'a'[1]", "only nodes have conditions and steps");
    check("a:", "the XPath lacks a name before \"\"");
    check(
        "matches('a', '(')",
        "in the XPath: error parsing regexp: unclosed group",
    );
    check(&"(".repeat(100), "the XPath is nested too deep");
    check(&format!("a{}", "[a".repeat(100)), "the XPath is nested too deep");
    check(
        &format!("1{}", " + 1".repeat(1000)),
        "the XPath has too many parts",
    );
    check(&format!("a{}", "/a".repeat(1000)), "the XPath has too many parts");
    let wide = format!("<a>{}</a>", "<b/>".repeat(5000));
    assert_eq!(
        picked(&wide, "//b[count(preceding::b) > count(following::b)]"),
        "refused: the XPath looks at too many parts of the document"
    );
}

#[test]
fn the_largest_expressions_are_evaluated() {
    let sum = format!("//e[1{} = 395]", " + 1".repeat(394));
    assert_eq!(picked(DOC, &sum), "q");
    let deep = format!("//e[{}1{}]", "(".repeat(46), ")".repeat(46));
    assert_eq!(picked(DOC, &deep), "q");
    let conditions = format!("//e{}{}", "[../e".repeat(20), "]".repeat(20));
    assert_eq!(picked(DOC, &conditions), "q");
}

proptest! {
    #[test]
    fn nothing_that_is_written_makes_it_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "/", "//", "a", "b", "e", "*", "@", "i", ".", "..", "[", "]", "(", ")", "|", "1", "2", " ", "-", "+", "=",
                "!=", "<", ">", "'x'", "or", "and", "div", "mod", "::", "ancestor", "following", "preceding-sibling", ":",
                "text()", "node()", "position()", "last()", "count", "substring('abc', ", "concat(", ",", "not(", "sum(//b)",
                "string-join(//b, ", "translate(", "é", "$", "namespace-uri(", "matches('a', ", "replace(., 'b', ",
            ]),
            0..14,
        ),
    ) {
        let text = parts.concat();
        let tree = Tree::read(DOC).expect("it is XML");
        if let Ok(path) = XPath::new(&text)
            && let Ok(picks) = path.pick(&tree)
        {
            prop_assert!(picks.is_sorted(), "{text}");
            for pick in picks {
                prop_assert!(pick.attribute <= tree.attributes(pick.node).len(), "{text}");
            }
        }
    }
}
