//! What the engine and the components agree on.
//!
//! A component is a file with a static factory; the engine builds it from its [`config::Section`], connects it by
//! [`Consumer`]s and puts the harness around it. Components know neither each other nor the graph: what is not below
//! them they reach through [`Host`].
//!
//! Order of life: `build` (no I/O; `weir validate` stops here) → `start`, from the exporters up to the receivers →
//! `consume`, any number at once → `stop`, from the receivers down. `stop` is safe without `start`, and twice.

pub mod audit;
pub mod beat;
pub mod beside;
pub mod books;
pub mod collect;
pub mod connector;
pub mod consumer;
pub mod error;
pub mod exporter;
pub mod extension;
pub mod guard;
pub mod host;
pub mod limiter;
pub mod memory;
pub mod prelude;
pub mod processor;
pub mod receiver;
pub mod statements;
pub mod template;
#[cfg(any(test, feature = "test-kit"))]
pub mod test_kit;

pub use audit::Audit;
pub use beat::{Beat, deliver};
pub use beside::beside_others;
pub use books::Books;
pub use collect::{Claim, Collect, Debts, Ending, Pieces, Receipt, Run, Seal, Seq, Set, StoreError};
pub use connector::{Connector, ConnectorFactory, Joint, Ways};
pub use consumer::{BoxFuture, Consumer, Outcome, Refusal, Rejection, ready};
pub use error::{BoxError, Code, ExportError, Fault, Remaining, StatusDetails};
pub use exporter::{Exporter, ExporterFactory, Harness, Instead, Push, compressed};
pub use extension::{Event, Extension, ExtensionFactory, Storage};
pub use guard::Guard;
pub use host::{
    BuildContext, BuildInfo, Health, Host, Reported, Shared, Stability, Status, Stop, StopSwitch,
};
pub use memory::{Class, Memory, Reservation};
pub use processor::{
    Change, Depth, Drops, FlushPolicy, Gate, Hold, MakeNode, Node, Processor, ProcessorFactory, Reshape,
    ReshapeCx, SegmentCx, Sift, Touches, Tree,
};
pub use receiver::{Outputs, Receiver, ReceiverFactory};
pub use template::{Template, TenantHeaders};
