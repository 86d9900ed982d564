//! SIGHUP: a process of a cluster reads `cluster.toml` again.
//!
//! What is followed at once: processes that come, go and move, by their links. Who takes part in the log is changed by `fennec cluster
//! apply` alone, and what concerns the process itself when it is started again. A file that cannot be followed is logged, and
//! nothing is changed.

use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::config::cluster::{self, Loaded};
use crate::cluster::config::Plan;
use crate::cluster::mesh::Mesh;

/// Catches the signal from now on: not caught, it would end the process.
///
/// # Errors
/// It cannot be caught.
pub(super) fn catch(runtime: &Runtime) -> Result<Signal, Failure> {
    let _within = runtime.enter();
    signal(SignalKind::hangup()).map_err(|error| Failure::Run(format!("cannot catch signals: {error}")))
}

/// Follows the file, as long as the runtime works.
pub(super) fn follow(mut hangup: Signal, runtime: &Runtime, path: PathBuf, mut plan: Plan, mesh: Mesh) {
    runtime.spawn(async move {
        while hangup.recv().await.is_some() {
            match reread(&path, &plan) {
                Ok(new) => {
                    report(&plan, &new);
                    mesh.change(&new);
                    plan = new;
                }
                Err(problems) => problems.iter().for_each(|problem| {
                    tracing::error!("{problem}; the links are left as they are");
                }),
            }
        }
    });
}

/// The part of the same process in the file as it is now, or why it cannot be followed.
fn reread(path: &Path, plan: &Plan) -> Result<Plan, Vec<String>> {
    let loaded = cluster::load(path);
    let Loaded { cluster, .. } =
        loaded.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let before = &plan.cluster;
    if (&cluster.name, &cluster.key) != (&before.name, &before.key) {
        return Err(vec![format!("{}: the cluster's name and key stay as long as it runs", path.display())]);
    }
    let ids: Vec<&str> = plan.own.nodes.iter().map(|node| &*node.name).collect();
    cluster.plan(&ids, None).map_err(|error| vec![format!("{}: {error}", path.display())])
}

fn report(before: &Plan, after: &Plan) {
    let has = |plan: &Plan, process| plan.peers.contains(process);
    for process in after.peers.iter().filter(|process| !has(before, process)) {
        tracing::info!(process = %process.id, link = %process.link, "the file has it new, or elsewhere");
    }
    for process in before.peers.iter().filter(|process| !after.peers.iter().any(|other| other.id == process.id)) {
        tracing::info!(process = %process.id, "the file has it no more");
    }
    let same = |plan: &Plan| (plan.own.bind, plan.own.tls.clone(), plan.own.clients.clone(), plan.own.stores.clone());
    if same(before) != same(after) || before.cluster.silence != after.cluster.silence {
        tracing::warn!("the file has this process otherwise: that is followed when it is started again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = 'a'\nkey = 'a key that is long enough for the test'\ndata = '/d'\n";

    fn written(folder: &Path, processes: &[(&str, &str, u16)]) -> PathBuf {
        let table = |(role, id, port): &(&str, &str, u16)| {
            let listens =
                if *role == "entry" { format!("mqtt = '127.0.0.1:{}'\n", port + 1000) } else { String::new() };
            format!("[[process]]\n{role} = '{id}'\nlink = '127.0.0.1:{port}'\n{listens}")
        };
        let path = folder.join("cluster.toml");
        std::fs::write(&path, HEAD.to_owned() + &processes.iter().map(table).collect::<String>()).unwrap();
        path
    }

    #[test]
    fn a_file_that_has_another_cluster_or_not_this_process_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let all = [("entry", "E1", 1), ("ndb", "N1", 2), ("sync", "S1", 3)];
        let path = written(folder.path(), &all);
        let plan = cluster::load(&path).unwrap().cluster.plan(&["N1"], None).unwrap();
        written(folder.path(), &[all[0], ("ndb", "N1", 7), all[2], ("ndb", "N2", 8)]);
        let new = reread(&path, &plan).unwrap();
        assert_eq!((new.own.link.port, new.peers.len()), (7, 3));
        written(folder.path(), &[all[0], ("ndb", "N2", 8), all[2]]);
        assert!(reread(&path, &plan).unwrap_err()[0].contains("there is no id \"N1\""));
        let text = std::fs::read_to_string(written(folder.path(), &all)).unwrap();
        std::fs::write(&path, text.replace("name = 'a'", "name = 'b'")).unwrap();
        assert!(reread(&path, &plan).unwrap_err()[0].contains("stay as long as it runs"));
        std::fs::write(&path, "name = 3").unwrap();
        assert!(reread(&path, &plan).is_err());
    }
}
