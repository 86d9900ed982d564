//! `fennec bridge`: bridges to other MQTT brokers, by the procedure `fennec.bridge.status` of a running broker.

use clap::{Args, Subcommand};

use super::Failure;
use super::ask::{call, json};
use super::client_args::ConnectArgs;
use super::columns::columns;
use super::connect::visit;
use super::lines::print_lines;
use crate::types::value::Value;

#[derive(Debug, Subcommand)]
pub(super) enum BridgeCommand {
    /// Say of each bridge whether it is connected, what waits, and what was wrong last
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON objects with all that is known of each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(super) fn run(command: BridgeCommand) -> Result<(), Failure> {
    let BridgeCommand::Status(args) = command;
    visit(&args.connect, async |link| {
        let answer = call(link, "fennec.bridge.status", Vec::new()).await?;
        let bridges = answer.get("bridges").and_then(Value::as_list).unwrap_or_default();
        print_lines(&if args.json { bridges.iter().map(json).collect() } else { table(bridges) })
    })
}

const HEADS: [&str; 8] = ["BRIDGE", "STATE", "LAG", "AGE", "SENT", "RECEIVED", "DROPPED", "ADDRESS"];

/// A line for each bridge below their heads, in columns; below a bridge that is down, why.
fn table(bridges: &[Value]) -> Vec<String> {
    let rows: Vec<[String; 8]> = [HEADS.map(str::to_owned)].into_iter().chain(bridges.iter().map(row)).collect();
    let why = |bridge: &Value| bridge.get("error").and_then(Value::as_str).map(|error| format!("  {error}"));
    let below = std::iter::once(None).chain(bridges.iter().map(why));
    columns(&rows).into_iter().zip(below).flat_map(|(line, below)| [Some(line), below]).flatten().collect()
}

fn row(bridge: &Value) -> [String; 8] {
    let text = |name: &str| bridge.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |part: &str, name: &str| {
        bridge.get(part).and_then(|part| part.get(name)).and_then(Value::as_u64).unwrap_or_default()
    };
    [
        text("name"),
        text("state"),
        number("out", "lag_events").to_string(),
        format!("{} s", number("out", "lag_ms") / 1000),
        number("out", "done").to_string(),
        number("in", "received").to_string(),
        number("out", "dropped").to_string(),
        text("address"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::payload::Format;

    #[test]
    fn a_table_has_a_line_for_each_bridge_and_says_why_one_is_down() {
        let bridge = |text: &str| Value::decode(Format::Json, text.as_bytes()).unwrap();
        let lines = table(&[
            bridge(
                r#"{"name":"far","state":"up","address":"mqtt://h:1883","error":null,
                    "out":{"lag_events":3,"lag_ms":4500,"done":120,"dropped":1},"in":{"received":7}}"#,
            ),
            bridge(
                r#"{"name":"b","state":"down","address":"mqtts://other:8883","error":"nobody answers","out":{},"in":{}}"#,
            ),
        ]);
        let expected = [
            "BRIDGE  STATE  LAG  AGE  SENT  RECEIVED  DROPPED  ADDRESS",
            "far     up     3    4 s  120   7         1        mqtt://h:1883",
            "b       down   0    0 s  0     0         0        mqtts://other:8883",
            "  nobody answers",
        ];
        assert_eq!(lines, expected);
        assert_eq!(table(&[]).len(), 1);
    }
}
