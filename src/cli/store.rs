//! `fennec store`: looks at what a broker keeps, makes it smaller, and moves it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::broker::make_node;
use super::config::{Config, Flag, Sources};
use super::{Failure, print};
use crate::net::clock::Clock;
use crate::node::log::LogError;
use crate::queue::segment::Segment;
use crate::store::check::check;
use crate::store::transfer::{Moved, TransferError, export, import};
use crate::store::{self, Stats, Store, StoreError, StoreReader, StoreSettings, StoreUrl, SyncMode};

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Look whether everything is whole; print "ok" or what is wrong. Works while a broker runs
    Check(JsonArgs),
    /// Tell how much there is. Works while a broker runs
    Stats(JsonArgs),
    /// Give back space that is not used any more. Takes as much space again while it works. With a configuration file, events that
    /// need not be kept go first, as a broker with that file would have it
    Compact(WhichArgs),
    /// Write everything into a file, or "-" for standard output
    Export(FileArgs),
    /// Read what was exported into an empty store
    Import(FileArgs),
}

/// Which store: the one that `fennec serve` would take.
#[derive(Debug, clap::Args)]
pub(super) struct WhichArgs {
    /// Configuration file (TOML); else the one that FENNEC_CONFIG names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the store [data]
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    data: Option<String>,
    /// The same, or a database: postgres://user:password@host/database [store]
    #[arg(long, value_name = "DIR|URL")]
    store: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct JsonArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    #[command(flatten)]
    which: WhichArgs,
    file: PathBuf,
}

pub(super) fn run(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Check(args) => check_store(args),
        StoreCommand::Stats(args) => stats(args),
        StoreCommand::Compact(args) => compact(args),
        StoreCommand::Export(args) => export_store(args),
        StoreCommand::Import(args) => import_store(args),
    }
}

impl WhichArgs {
    fn url(self) -> Result<StoreUrl, Failure> {
        Ok(self.config()?.0)
    }

    /// With the configuration, if there is a file.
    fn config(self) -> Result<(StoreUrl, Option<Config>), Failure> {
        let flag = |name: &str, value: Option<String>| {
            Some(Flag { name: format!("--{name}"), key: name.to_owned(), value: value? })
        };
        let flags = [flag("data", self.data), flag("store", self.store)];
        let env = std::env::vars_os().collect();
        let sources = Sources { file: self.config, env, flags: flags.into_iter().flatten().collect() };
        let config = Config::load(&sources).map_err(Failure::of_problems)?;
        match config.store.url.clone() {
            StoreUrl::Memory => Err(Failure::Refused(vec![
                "the configuration keeps everything in memory: there is no store".to_owned(),
            ])),
            url => Ok((url, sources.config_file().is_some().then_some(config))),
        }
    }
}

fn failed(error: StoreError) -> Failure {
    Failure::Run(error.to_string())
}

/// A store for us alone.
fn own(url: StoreUrl, sync: SyncMode) -> Result<Box<dyn Store>, Failure> {
    let settings = StoreSettings { url, sync, strict: true, ..StoreSettings::default() };
    Ok(store::open(&settings).map_err(failed)?.store)
}

/// The same, of one that is there.
fn own_existing(url: StoreUrl) -> Result<Box<dyn Store>, Failure> {
    drop(store::inspect(&url).map_err(failed)?);
    own(url, SyncMode::Always)
}

fn check_store(args: JsonArgs) -> Result<(), Failure> {
    let url = args.which.url()?;
    let mut reader = store::inspect(&url).map_err(failed)?;
    let report = check(&mut *reader).map_err(failed)?;
    let count = report.problems.len() as u64 + report.more_problems;
    let text = if args.json {
        let report = json!({
            "segments": report.segments, "numbers": report.numbers, "rows": report.rows,
            "problems": report.problems, "more_problems": report.more_problems,
        });
        format!("{report}\n")
    } else if count == 0 {
        format!("{url}: ok ({} segments, {} rows)\n", report.segments, report.rows)
    } else {
        report.problems.iter().fold(String::new(), |text, problem| text + problem + "\n")
    };
    print(&text)?;
    if count == 0 { Ok(()) } else { Err(Failure::Run(format!("{url}: {count} problems"))) }
}

fn stats(args: JsonArgs) -> Result<(), Failure> {
    let url = args.which.url()?;
    let mut reader = store::inspect(&url).map_err(failed)?;
    let stats = reader.stats().map_err(failed)?;
    let first = reader.headers(stats.first_number, 1).map_err(failed)?.first().map(|header| header.at_us);
    let last = last_segment(&mut *reader, &stats).map_err(failed)?.map(|segment| segment.at_us);
    let Stats { segments, segment_bytes, first_number, last_number, last_position, rows, disk_bytes } = stats;
    if args.json {
        let stats = json!({
            "segments": segments, "segment_bytes": segment_bytes, "first_number": first_number,
            "last_number": last_number, "last_position": last_position, "first_at_us": first, "last_at_us": last,
            "rows": rows, "disk_bytes": disk_bytes,
        });
        return print(&format!("{stats}\n"));
    }
    let mut text = format!("{url}\n");
    let mut line = |name: &str, value: String| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{name:<9} {value}");
    };
    line("segments", format!("{segments} ({segment_bytes} bytes)"));
    line("numbers", format!("{first_number} to {last_number}"));
    if let (Some(first), Some(last)) = (first, last) {
        line("times", format!("{} to {}", time(first), time(last)));
    }
    line("position", last_position.to_string());
    line("rows", rows.to_string());
    line("on disk", format!("{disk_bytes} bytes"));
    print(&text)
}

fn last_segment(reader: &mut dyn StoreReader, stats: &Stats) -> Result<Option<Segment>, StoreError> {
    reader.segment_before(stats.last_number + 1)
}

fn compact(args: WhichArgs) -> Result<(), Failure> {
    let (url, config) = args.config()?;
    let mut store = own_existing(url)?;
    let disk_bytes = |store: &dyn Store| Ok(store.reader()?.stats()?.disk_bytes);
    let before: u64 = disk_bytes(&*store).map_err(failed)?;
    // Without a file that says what is durable, nothing would seem to be.
    if let Some(config) = config {
        store = clean_up(store, &config)?;
    }
    store.compact().map_err(failed)?;
    let after: u64 = disk_bytes(&*store).map_err(failed)?;
    print(&format!("{before} bytes before, {after} bytes now\n"))
}

/// Does to a store what a broker does to it that is started with this configuration, and stopped when it has cleaned up.
fn clean_up(store: Box<dyn Store>, config: &Config) -> Result<Box<dyn Store>, Failure> {
    let failed = |error: LogError| Failure::Run(error.to_string());
    let now_ms = Clock::default().now_ms();
    let (mut engine, _) = make_node(config)?.open_log(store, now_ms).map_err(failed)?;
    engine.clean_up(now_ms * 1000).map_err(failed)?;
    Ok(engine.into_store())
}

fn export_store(args: FileArgs) -> Result<(), Failure> {
    let store = own_existing(args.which.url()?)?;
    let mut reader = store.reader().map_err(failed)?;
    if args.file == Path::new("-") {
        let exported = export(&mut *reader, BufWriter::new(io::stdout().lock()));
        return exported.map(|_| ()).map_err(|error| Failure::Run(format!("standard output: {error}")));
    }
    let file = args.file.display();
    let made = OpenOptions::new().write(true).create_new(true).open(&args.file);
    let made = made.map_err(|error| Failure::Run(format!("cannot make {file}: {error}")))?;
    let exported = export_to(&mut *reader, &made);
    let Moved { segments, rows } = exported.map_err(|error| {
        // Half of it is of no use to anybody.
        let _ = fs::remove_file(&args.file);
        Failure::Run(format!("{file}: {error}"))
    })?;
    print(&format!("{file}: {segments} segments, {rows} rows\n"))
}

fn export_to(reader: &mut dyn StoreReader, file: &File) -> Result<Moved, TransferError> {
    let mut out = BufWriter::new(file);
    let moved = export(reader, &mut out)?;
    out.flush()?;
    file.sync_all()?;
    Ok(moved)
}

fn import_store(args: FileArgs) -> Result<(), Failure> {
    let url = args.which.url()?;
    let name = args.file.display();
    let failed = |error: TransferError| match error {
        TransferError::NotEmpty => Failure::Run(format!("{url} is not empty: import into a new one")),
        error => Failure::Run(format!("{name}: {error}")),
    };
    let import_from = |input: &mut dyn io::Read| {
        // Nothing but the whole counts, so it is enough to sync at the end.
        let mut store = own(url.clone(), SyncMode::Interval)?;
        import(&mut *store, input).map_err(failed)
    };
    let Moved { segments, rows } = if args.file == Path::new("-") {
        import_from(&mut io::stdin().lock())?
    } else {
        let file = File::open(&args.file).map_err(|error| Failure::Run(format!("cannot open {name}: {error}")))?;
        import_from(&mut BufReader::new(file))?
    };
    print(&format!("{url}: {segments} segments, {rows} rows\n"))
}

/// Microseconds since 1970, as people write it.
fn time(at_us: u64) -> String {
    let (year, month, day) = crate::types::time::civil((at_us / 86_400_000_000) as i64);
    let seconds = at_us / 1_000_000 % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
