//! `weir schema`: the JSON Schema of a configuration, for editors.

use component::{ConnectorFactory, ExporterFactory, ExtensionFactory, ProcessorFactory, ReceiverFactory};
use config::Shape;
use config::shape::{ComponentShape, document};

use crate::service::admin;
use crate::service::audit;
use crate::service::keys;
use crate::service::registry::Factory;
use crate::service::self_telemetry::Keys;

/// Prints the schema.
pub(super) fn show() -> Result<(), String> {
    super::say(&text());
    Ok(())
}

fn text() -> String {
    let mut components = Vec::new();
    shapes::<ReceiverFactory>(&mut components);
    shapes::<ProcessorFactory>(&mut components);
    shapes::<ExporterFactory>(&mut components);
    shapes::<ConnectorFactory>(&mut components);
    shapes::<ExtensionFactory>(&mut components);
    let service = [
        ("telemetry", Shape::of::<Keys>()),
        ("admin", Shape::of::<admin::Keys>()),
        ("audit", Shape::of::<audit::keys::Keys>()),
        ("reload", Shape::of::<keys::Reload>()),
        ("shutdown", Shape::of::<keys::Shutdown>()),
    ];
    document(&components, &service)
}

fn shapes<F: Factory>(components: &mut Vec<ComponentShape>) {
    for factory in F::all() {
        let mut kinds = vec![factory.kind()];
        kinds.extend(factory.aliases());
        components.push(ComponentShape {
            section: F::SECTION,
            kinds,
            blocks: factory.keys(),
        });
    }
}
