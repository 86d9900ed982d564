//! Files of clusters and what is said about them: every mistake, each with its place.

use std::fs;
use std::time::Duration;

use super::*;
use crate::cluster::config::{LinkAddress, Plan, TlsFiles};
use crate::queue::envelope::{NodeId, Role};
use crate::queue::quorum::StoreId;
use crate::store::StoreUrl;

mod documentation;

/// What every file here begins with: two lines.
const HEAD: &str = "name = \"c\"\nkey = \"0123456789abcdef0123456789abcdef\"\n";
/// A process that plays everything: seven lines.
const ALL: &str = "[[process]]\nentry = \"E1\"\nndb = \"N1\"\nsync = \"S1\"\nlink = \"127.0.0.1:7001\"\nmqtt = \"127.0.0.1:1883\"\ndata = \"d\"\n";

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cluster.toml"), text).unwrap();
        Self { folder }
    }

    fn load(&self) -> Result<Loaded, Vec<Problem>> {
        load(&self.folder.path().join("cluster.toml"))
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|problems| panic!("{:#?}", self.lines(&problems)))
    }

    /// A line each, with the folder left out.
    fn lines(&self, problems: &[Problem]) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }
}

/// What is wrong with a file.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let scene = Scene::new(text);
    let problems = scene.load().err().unwrap_or_default();
    assert_eq!(scene.lines(&problems), expected, "{text}");
}

/// What is wrong with a file of `HEAD`, `more`, and then processes.
#[track_caller]
fn check_with(more: &str, processes: &str, expected: &[&str]) {
    check(&format!("{HEAD}{more}{processes}"), expected);
}

#[track_caller]
fn check_warnings(more: &str, processes: &str, expected: &[&str]) {
    let scene = Scene::new(&format!("{HEAD}{more}{processes}"));
    let loaded = scene.loaded();
    assert_eq!(scene.lines(&loaded.warnings), expected);
}

/// Processes of one role each, all on loopback: four lines each.
fn processes(ids: &[&str]) -> String {
    let one = |(index, id): (usize, &&str)| {
        let (role, more) = match id.as_bytes()[0] {
            b'E' => ("entry", format!("mqtt = \"127.0.0.1:{}\"", 1900 + index)),
            b'N' => ("ndb", "data = \"d\"".to_owned()),
            _ => ("sync", "data = \"d\"".to_owned()),
        };
        format!("[[process]]\n{role} = \"{id}\"\nlink = \"127.0.0.1:{}\"\n{more}\n", 7000 + index)
    };
    ids.iter().enumerate().map(one).collect()
}

fn slots_of(loaded: &Loaded) -> Vec<Vec<String>> {
    let names = |slot: &Vec<NodeId>| slot.iter().map(|node| node.name.to_string()).collect();
    loaded.cluster.slots.iter().map(names).collect()
}

#[test]
fn one_process_may_play_everything() {
    let scene = Scene::new(&format!("{HEAD}{ALL}"));
    let Loaded { cluster, warnings } = scene.loaded();
    assert_eq!((&*cluster.name, cluster.storage_quorum, cluster.copies()), ("c", 1, 1));
    assert_eq!((cluster.silence, warnings.len()), (Duration::from_secs(3), 0));
    assert_eq!(cluster.members(|_| StoreId(1)).check(), Ok(()));
    let Plan { own, peers, .. } = cluster.plan(&["E1", "S1", "N1"], None).unwrap();
    assert_eq!(own.nodes, [NodeId::entry("E1"), NodeId::storage("N1"), NodeId::sync("S1")]);
    assert_eq!(own.link, LinkAddress { host: "127.0.0.1".to_owned(), port: 7001 });
    assert_eq!((own.bind, own.tls, peers.len()), (([127, 0, 0, 1], 7001).into(), None, 0));
    let folder = |id: &str| StoreUrl::Folder(scene.folder.path().join("d").join(id));
    assert_eq!(own.stores, [(NodeId::storage("N1"), folder("N1")), (NodeId::sync("S1"), folder("S1"))]);
}

#[test]
fn what_must_be_there_is_asked_for() {
    check(
        "",
        &[
            "cluster.toml: name is missing",
            "cluster.toml: key or key_file is missing",
            "cluster.toml: there is no [[process]]",
        ],
    );
    check_with(
        "",
        "[[process]]\n",
        &[
            "cluster.toml:3:1: process: none has an entry: no client could connect",
            "cluster.toml:3:1: process: none has an ndb: nobody would keep anything",
            "cluster.toml:3:1: process: none has a sync: nobody would order anything",
            "cluster.toml:3:1: process[0]: plays no role: say entry, ndb or sync, and the id",
            "cluster.toml:3:1: process[0]: link is missing: where the other processes find this one",
        ],
    );
    let no_data = ALL.replace("data = \"d\"\n", "");
    check_with(
        "",
        &no_data,
        &[
            "cluster.toml:3:1: process[0]: data is missing: the folder in which N1 keeps what it must not forget",
            "cluster.toml:3:1: process[0]: data is missing: the folder in which S1 keeps what it must not forget",
        ],
    );
}

#[test]
fn keys_and_types_that_are_not_known_are_refused() {
    check_with(
        "storage_quorom = 2\n",
        ALL,
        &["cluster.toml:3:1: storage_quorom: unknown key; did you mean \"storage_quorum\"?"],
    );
    check_with("sync_quorum = 2\n", ALL, &["cluster.toml:3:1: sync_quorum: unknown key"]);
    check_with("copies = \"three\"\n", ALL, &["cluster.toml:3:10: copies: must be a whole number"]);
    let port = |link: &str| ALL.replace("127.0.0.1:7001", link);
    let link = |what: &str| format!("cluster.toml:7:8: process[0].link: {what}");
    let no_address = "is no address such as \"10.0.0.1:7000\" or \"n1.example.org:7000\"";
    for text in ["7001", "n1", "n1:x", "-n1:7001", "a b:7001", ":7001"] {
        check_with("", &port(text), &[&link(&format!("{text:?} {no_address}"))]);
    }
    check_with("", &port("127.0.0.1:0"), &[&link("must have a port that others can know, not 0")]);
    check_with(
        "",
        &port("0.0.0.0:7001"),
        &[&link("0.0.0.0 cannot be dialled: say bind = \"0.0.0.0:7001\", and here the address that others use")],
    );
}

#[test]
fn the_key_is_long_secret_and_said_once() {
    let head = |key: &str| format!("name = \"c\"\n{key}\n{ALL}");
    check(
        &head("key = \"short\""),
        &["cluster.toml:2:7: key: must have at least 32 characters: guessing it must be hopeless"],
    );
    let both = "key = \"0123456789abcdef0123456789abcdef\"\nkey_file = \"k\"";
    check(&head(both), &["cluster.toml:3:12: key_file: says again what key says: keep one of them"]);
    check(
        &head("key_file = \"k\""),
        &["cluster.toml:2:12: key_file: cannot read k: No such file or directory (os error 2)"],
    );
    let scene = Scene::new(&head("key_file = \"k\""));
    fs::write(scene.folder.path().join("k"), "  0123456789abcdef0123456789abcde \n").unwrap();
    let short = scene.load().unwrap_err();
    assert_eq!(
        scene.lines(&short),
        ["cluster.toml:2:12: key_file: must have at least 32 characters: guessing it must be hopeless"]
    );
    fs::write(scene.folder.path().join("k"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let from_file = scene.loaded().cluster;
    assert_eq!(from_file.key, Scene::new(&format!("{HEAD}{ALL}")).loaded().cluster.key);
    assert!(!format!("{from_file:?}").contains("0123456789abcdef"));
}

#[test]
fn no_id_is_there_twice() {
    let twice = processes(&["E1", "N1", "S1", "N1"]);
    check_with("", &twice, &["cluster.toml:16:7: process[3].ndb: \"N1\" is taken by process[1].ndb"]);
    let across = "[[process]]\nentry = \"A\"\nsync = \"A\"\nndb = \"../b\"\nlink = \"127.0.0.1:7001\"\nmqtt = \"127.0.0.1:1\"\ndata = \"d\"\n";
    check_with(
        "",
        across,
        &[
            "cluster.toml:5:8: process[0].sync: \"A\" is taken by process[0].entry",
            "cluster.toml:6:7: process[0].ndb: \"../b\" is no id: up to 32 letters, digits, \"-\", \"_\" and \".\", and no \".\" first",
        ],
    );
}

#[test]
fn no_address_is_there_twice() {
    let same_link = processes(&["E1", "N1", "S1"]).replace("7002", "7001");
    check_with("", &same_link, &["cluster.toml:13:8: process[2].link: 127.0.0.1:7001 is taken by process[1]"]);
    let own = ALL.replace("127.0.0.1:1883\"", "127.0.0.1:1883\"\nhttp = \"127.0.0.1:1883\"");
    check_with("", &own, &["cluster.toml:9:8: process[0].http: 127.0.0.1:1883 is taken by process[0].mqtt"]);
    let own = ALL.replace("127.0.0.1:1883", "127.0.0.1:7001");
    check_with("", &own, &["cluster.toml:7:8: process[0].link: 127.0.0.1:7001 is taken by process[0].mqtt"]);
    let neighbour = processes(&["E1", "E2", "N1", "S1"]).replace("1901", "1900");
    check_with("", &neighbour, &["cluster.toml:10:8: process[1].mqtt: 127.0.0.1:1900 is taken by process[0].mqtt"]);
}

#[test]
fn the_same_port_on_two_machines_is_two_addresses() {
    let process = |host: &str, role: &str, more: &str| {
        format!("[[process]]\n{role}\nlink = \"{host}:7000\"\nbind = \"0.0.0.0:7000\"\n{more}\n")
    };
    let entry = "mqtt = \"0.0.0.0:1883\"";
    let all = [
        process("a.example.org", "entry = \"E1\"", entry),
        process("b.example.org", "entry = \"E2\"", entry),
        process("c.example.org", "ndb = \"N1\"", "store = \"/var/lib/fennec\""),
        process("d.example.org", "ndb = \"N2\"", "store = \"/var/lib/fennec\""),
        process("e.example.org", "sync = \"S1\"", "data = \"/var/lib/fennec\""),
    ];
    let head = "insecure_links = true\nstorage_quorum = 2\n";
    let warning = "cluster.toml:4:18: storage_quorum: is 2 of 2: while one storage is down, nothing is acknowledged";
    check_warnings(head, &all.concat(), &[warning]);
    let one_machine = all
        .concat()
        .replace("d.example.org:7000\"\nbind = \"0.0.0.0:7000", "c.example.org:7001\"\nbind = \"0.0.0.0:7001");
    check_with(
        head,
        &one_machine,
        &["cluster.toml:20:1: process[3]: N2 would keep its data where N1 does: /var/lib/fennec"],
    );
}

#[test]
fn each_database_serves_one_storage_and_its_password_is_not_shown() {
    let with_store = |id: &str| format!("ndb = \"{id}\"\nstore = \"postgres://u:secret@db/fennec\"");
    let all = processes(&["E1", "N1", "N2", "S1"])
        .replace("ndb = \"N1\"", &with_store("N1"))
        .replace("ndb = \"N2\"", &with_store("N2"));
    check_with(
        "",
        &all,
        &["cluster.toml:12:1: process[2]: N2 would keep its data where N1 does: postgres://db/fennec"],
    );
}

#[test]
fn what_belongs_to_another_role_is_refused() {
    let wrong = processes(&["E1", "N1", "S1"])
        .replace("mqtt = \"127.0.0.1:1900\"", "mqtt = \"127.0.0.1:1900\"\ndata = \"d\"")
        .replace("sync = \"S1\"", "sync = \"S1\"\nstore = \"d\"\nhttp = \"127.0.0.1:80\"");
    check_with(
        "",
        &wrong,
        &[
            "cluster.toml:7:8: process[0].data: is for ndb and sync only: an entry keeps nothing",
            "cluster.toml:14:9: process[2].store: is for ndb only",
            "cluster.toml:15:8: process[2].http: is for entries only: clients connect nowhere else",
        ],
    );
    let silent = processes(&["E1", "N1", "S1"]).replace("mqtt = \"127.0.0.1:1900\"\n", "");
    check_warnings(
        "",
        &silent,
        &["cluster.toml:3:1: process[0]: takes no clients: say where in mqtt, http or rawsocket"],
    );
}

#[test]
fn links_that_leave_the_machine_are_encrypted_unless_somebody_says_otherwise() {
    let away = ALL.replace("127.0.0.1:7001", "10.0.0.1:7001");
    let why = "is not on loopback: configure [tls], or say insecure_links = true if nobody else is in that network";
    check_with("", &away, &[&format!("cluster.toml:7:8: process[0].link: 10.0.0.1:7001 {why}")]);
    check_warnings("insecure_links = true\n", &away, &[]);
    let bound_wide = ALL.replace("7001\"", "7001\"\nbind = \"0.0.0.0:7001\"");
    check_with("", &bound_wide, &[&format!("cluster.toml:8:8: process[0].bind: 0.0.0.0:7001 {why}")]);
    let named = ALL.replace("127.0.0.1:7001", "n1.example.org:7001");
    check_with(
        "insecure_links = true\n",
        &named,
        &[
            "cluster.toml:8:8: process[0].link: \"n1.example.org\" is a name: say in bind, too, which address it listens at, such as \"0.0.0.0:7001\"",
        ],
    );
    check_warnings("", &ALL.replace("127.0.0.1:7001", "localhost:7001"), &[]);
}

#[test]
fn with_tls_every_process_has_a_certificate() {
    let tls = "[tls]\nca = \"ca.pem\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
    let away = ALL.replace("127.0.0.1:7001", "10.0.0.1:7001");
    let scene = Scene::new(&format!("{HEAD}{tls}{away}"));
    let path = |name: &str| scene.folder.path().join(name);
    let files = |cert: &str, key: &str| Some(TlsFiles { ca: path("ca.pem"), cert: path(cert), key: path(key) });
    assert_eq!(scene.loaded().cluster.processes[0].tls, files("cert.pem", "key.pem"));
    let own = format!("{away}cert = \"own.pem\"\nkey = \"own.key\"\n");
    fs::write(path("cluster.toml"), format!("{HEAD}{tls}{own}")).unwrap();
    assert_eq!(scene.loaded().cluster.processes[0].tls, files("own.pem", "own.key"));
    check_with(
        "[tls]\ncert = \"c\"\n",
        ALL,
        &["cluster.toml:3:1: tls: ca is missing: who signs the certificates", "cluster.toml:3:1: tls: key is missing"],
    );
    check_with(
        "[tls]\nca = \"c\"\n",
        ALL,
        &["cluster.toml:5:1: process[0]: has no certificate: say cert and key here or in [tls]"],
    );
    check_with(tls, &format!("{ALL}cert = \"c\"\n"), &["cluster.toml:7:1: process[0]: key is missing"]);
    check_with(
        "",
        &format!("{ALL}cert = \"c\"\nkey = \"k\"\n"),
        &["cluster.toml:3:1: process[0]: has a certificate, but there is no [tls] that says who signs it (ca)"],
    );
    check_warnings(
        &format!("insecure_links = true\n{tls}"),
        ALL,
        &["cluster.toml:3:18: insecure_links: means nothing: all links have TLS"],
    );
}

#[test]
fn storages_are_one_slot_unless_there_are_many() {
    let load = |more: &str, ids: &[&str]| Scene::new(&format!("{HEAD}{more}{}", processes(ids))).loaded();
    let three = load("", &["E1", "S1", "N1", "N2", "N3"]);
    assert_eq!(
        (slots_of(&three), three.cluster.storage_quorum),
        (vec![vec!["N1".to_owned(), "N2".into(), "N3".into()]], 2)
    );
    let six = ["E1", "S1", "N1", "N2", "N3", "N4", "N5", "N6"];
    let counted = load("copies = 2\n", &six);
    assert_eq!(slots_of(&counted), [["N1", "N2"], ["N3", "N4"], ["N5", "N6"]]);
    assert_eq!(counted.cluster.nodes_of(Role::Storage).count(), 6);
    let named = load("storage_quorum = 2\nslots = [[\"N6\", \"N1\", \"N2\"], [\"N3\", \"N4\", \"N5\"]]\n", &six);
    assert_eq!(slots_of(&named), [["N6", "N1", "N2"], ["N3", "N4", "N5"]]);
    let five = load("copies = 5\n", &["E1", "S1", "N1", "N2", "N3", "N4", "N5"]);
    assert_eq!((slots_of(&five).len(), five.cluster.storage_quorum), (1, 3));
}

#[test]
fn slots_and_quorums_that_cannot_be_are_refused() {
    let three = processes(&["E1", "S1", "N1", "N2", "N3"]);
    let four = processes(&["E1", "S1", "N1", "N2", "N3", "N4"]);
    check_with(
        "",
        &four,
        &["cluster.toml:3:1: process: there are 4 storages: say copies (how many of them keep each message) or slots"],
    );
    check_with("copies = 3\n", &four, &["cluster.toml:3:10: copies: 4 storages make no slots of 3: say slots"]);
    check_with("copies = 5\n", &four, &["cluster.toml:3:10: copies: is 5, and there are 4 storages"]);
    check_with("copies = 0\n", &four, &["cluster.toml:3:10: copies: must be at least 1"]);
    check_with(
        "storage_quorum = 4\n",
        &three,
        &["cluster.toml:3:18: storage_quorum: is 4, and a message has 3 copies: must be from 1 to 3"],
    );
    check_with(
        "storage_quorum = 0\n",
        &three,
        &["cluster.toml:3:18: storage_quorum: is 0, and a message has 3 copies: must be from 1 to 3"],
    );
    check_with("slots = []\n", &three, &["cluster.toml:3:9: slots: there is no slot"]);
    check_with(
        "copies = 3\nslots = [[\"N1\", \"N2\"], [\"N3\"], [\"N3\", \"N3\"], [\"S1\", \"N4\"]]\n",
        &three,
        &[
            "cluster.toml:3:10: copies: is 3, and the slots have 2 storages: leave one of them out",
            "cluster.toml:4:24: slots[1]: has 1 storages, and slots[0] has 2: all must have the same number",
            "cluster.toml:4:32: slots[2]: \"N3\" is there twice",
            "cluster.toml:4:46: slots[3]: there is no ndb \"S1\"",
            "cluster.toml:4:46: slots[3]: there is no ndb \"N4\"",
        ],
    );
}

#[test]
fn what_is_most_likely_not_meant_is_warned_of() {
    let three = processes(&["E1", "S1", "N1", "N2", "N3"]);
    check_warnings(
        "storage_quorum = 1\n",
        &three,
        &["cluster.toml:3:18: storage_quorum: is 1: what is acknowledged may be on a single disk, and is lost with it"],
    );
    check_warnings(
        "slots = [[\"N1\", \"N3\"]]\nstorage_quorum = 2\n",
        &three,
        &[
            "cluster.toml:3:9: slots: N2 is in no slot: nothing is kept there",
            "cluster.toml:4:18: storage_quorum: is 2 of 2: while one storage is down, nothing is acknowledged",
        ],
    );
    check_warnings(
        "",
        &processes(&["E1", "S1", "S2", "N1"]),
        &["cluster.toml:3:1: process: 2 syncs, of which 2 must be up, survive no more losses than 1"],
    );
    check_with("link_silence_ms = 299\n", ALL, &["cluster.toml:3:19: link_silence_ms: must be from 300 to 60000"]);
}
