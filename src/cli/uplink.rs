//! `fennec uplink`: how the uplinks of a running broker are doing, those that it has and those of edges that come to it.

use super::Failure;
use super::ask::{call, json};
use super::client_args::ConnectArgs;
use super::columns::columns;
use super::connect::visit;
use super::lines::print_lines;
use crate::types::value::Value;

#[derive(Debug, clap::Subcommand)]
pub(super) enum UplinkCommand {
    /// Print a line for each uplink of the realm
    Status(StatusArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Print JSON objects with all that is known of each
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Titles of the table, and what stands below them.
const HEADS: [&str; 9] = ["UPLINK", "END", "PEER", "STATE", "SEQUENCE", "PENDING", "OLDEST", "RATE", "LAST ERROR"];

pub(super) fn run(command: UplinkCommand) -> Result<(), Failure> {
    let UplinkCommand::Status(args) = command;
    visit(&args.connect, async |link| {
        let list = call(link, "fennec.uplink.status", Vec::new()).await?;
        let all = list.get("uplinks").and_then(Value::as_list).unwrap_or_default();
        print_lines(&if args.json { all.iter().map(json).collect() } else { table(all) })
    })
}

fn table(all: &[Value]) -> Vec<String> {
    if all.is_empty() {
        return vec!["there are no uplinks".to_owned()];
    }
    columns(&[HEADS.map(str::to_owned)].into_iter().chain(all.iter().map(row)).collect::<Vec<_>>())
}

fn row(uplink: &Value) -> [String; 9] {
    let text = |name: &str| uplink.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let number = |name: &str| uplink.get(name).and_then(Value::as_u64);
    let shown = |name: &str| number(name).unwrap_or(0).to_string();
    [
        text("id"),
        text("end"),
        text("peer"),
        text("state"),
        shown("sequence"),
        shown("pending"),
        number("oldest_age_ms").map_or("-".to_owned(), age),
        format!("{}/s", bytes(number("bytes_per_s").unwrap_or(0))),
        text("last_error"),
    ]
}

fn age(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_as_wide_as_what_stands_in_it() {
        assert_eq!(table(&[]), ["there are no uplinks"]);
        let one = Value::map([
            ("id", Value::from("site-7")),
            ("end", Value::from("edge")),
            ("peer", Value::from("wss://centre/ws")),
            ("state", Value::from("up")),
            ("sequence", Value::from(12_u64)),
            ("pending", Value::from(3_u64)),
            ("oldest_age_ms", Value::from(150_000_u64)),
            ("bytes_per_s", Value::from(2_500_000_u64)),
        ]);
        let lines = table(&[one]);
        assert_eq!(lines[0], "UPLINK  END   PEER             STATE  SEQUENCE  PENDING  OLDEST  RATE       LAST ERROR");
        assert_eq!(lines[1], "site-7  edge  wss://centre/ws  up     12        3        2 min   2500 kB/s  -");
    }
}
