//! `weir featuregate`: what can be switched, and how it stands without a switch.

use config::{Gate, GateStage, Gates};

/// Prints one gate, or all as a table.
pub(super) fn show(id: Option<&str>) -> Result<(), String> {
    super::say(text(id)?.trim_end());
    Ok(())
}

fn text(id: Option<&str>) -> Result<String, String> {
    let Some(id) = id else {
        return Ok(table(Gates::known()));
    };
    let gate = Gates::known().iter().find(|gate| gate.id == id);
    let gate = gate.ok_or_else(|| format!("feature \"{id}\" not found"))?;
    Ok(format!(
        "Feature: {}\nEnabled: {}\nStage: {}\nDescription: {}\n",
        gate.id,
        gate.stage == GateStage::Beta,
        gate.stage.as_str(),
        gate.description
    ))
}

/// Columns two blanks apart.
fn table(gates: &[Gate]) -> String {
    let wide = gates.iter().map(|gate| gate.id.len()).max().unwrap_or(0);
    let mut text = format!("{:wide$}  Enabled  Stage  Description\n", "ID");
    for gate in gates {
        let enabled = gate.stage == GateStage::Beta;
        let line = format!(
            "{:wide$}  {enabled:<7}  {:5}  {}\n",
            gate.id,
            gate.stage.as_str(),
            gate.description
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gate_or_all_are_shown() {
        let one = text(Some("service.profilesSupport")).expect("a gate");
        assert_eq!(
            one,
            "Feature: service.profilesSupport\nEnabled: false\nStage: Alpha\nDescription: Lets pipelines of profiles run\n"
        );
        assert_eq!(text(Some("x")), Err("feature \"x\" not found".into()));
        let all = text(None).expect("a table");
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), Gates::known().len() + 1);
        assert!(lines[0].starts_with("ID  ") && lines[0].ends_with("  Enabled  Stage  Description"));
        let beta = lines
            .iter()
            .find(|l| l.starts_with("service.partialReloadReceivers "))
            .expect("a row");
        assert!(beta.contains("  true     Beta   "), "{beta}");
    }
}
