//! One stage of a segment, from bytes to bytes: what the benches of processors share.

use std::hint::black_box;
use std::sync::Arc;

use component::{BuildContext, BuildInfo, Drops, Memory, Processor, ProcessorFactory, SegmentCx, Tree};
use config::{ComponentId, Section};
use wire::view::{Scratch, View};
use wire::{Context, Signal};

/// Index, stage, splice.
pub(crate) fn run(stage: &dyn Tree, bytes: &[u8], context: &Context, scratch: &mut Scratch) {
    let depth = stage.touches().depth;
    let mut sift = stage.sift(Signal::Logs);
    let view = View::sifted(scratch, Signal::Logs, bytes, depth, |record| {
        sift.as_mut().is_none_or(|sift| sift.passes(record))
    });
    let mut view = view.expect("payloads are well formed");
    let mut drops = Drops::default();
    let mut cx = SegmentCx {
        context,
        tenant: None,
        drops: &mut drops,
    };
    if let Some(sift) = sift {
        sift.finish(&mut cx);
    }
    stage.apply(&mut view, &mut cx).expect("nothing is refused here");
    black_box(view.finish());
}

/// A stage for logs out of the text of its section.
pub(crate) fn tree(factory: &ProcessorFactory, yaml: &str) -> Arc<dyn Tree> {
    let section = Section::from_yaml(yaml).expect("the bench's own rules");
    let cx = BuildContext {
        id: ComponentId {
            kind: factory.kind.to_owned(),
            name: String::new(),
        },
        telemetry: Default::default(),
        memory: Arc::new(Memory::new(1 << 30)),
        info: BuildInfo {
            command: "weir",
            version: "bench",
        },
        gates: Arc::default(),
    };
    match (factory.build)(section, &cx, Signal::Logs) {
        Ok(Processor::Tree(tree)) => tree,
        Ok(_) => panic!("{} is a tree", factory.kind),
        Err(fault) => panic!("{yaml}: {fault}"),
    }
}
