//! `muster cert verify`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::ca::{Authority, Form, Profile};

use crate::program::{ProgramOutput, muster};

/// A root, a factory below it, and a device's certificate, as files.
struct Files {
    folder: TempDir,
    root: Authority,
    factory: Authority,
}

impl Files {
    fn new() -> Files {
        let root = Authority::root("Root");
        let factory = root.intermediate("Factory");
        let files = Files { folder: tempfile::tempdir().unwrap(), root, factory };
        files.put("root.pem", files.root.identity().pem());
        files.put("factory.pem", files.factory.identity().pem());
        files.put("leaf.pem", files.factory.device("dev-1").pem());
        files
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// Verifies, with file names in the arguments replaced by paths.
    async fn verify(&self, arguments: &[&str]) -> ProgramOutput {
        let path = |name: &str| self.folder.path().join(name);
        let is_file = |name: &str| Path::new(name).extension().is_some();
        let arguments = arguments.iter().map(|one| if is_file(one) { path(one) } else { one.into() });
        muster(["cert".into(), "verify".into()].into_iter().chain(arguments)).await
    }
}

#[tokio::test]
async fn a_valid_chain_is_printed_with_status_0() {
    let files = Files::new();
    files.put("leaf.der", files.factory.device("dev-1").der());
    let bundle = [files.root.identity().pem(), files.factory.identity().pem()].concat();
    files.put("bundle.pem", &bundle);
    let leaf = std::fs::read_to_string(files.folder.path().join("leaf.pem")).unwrap();
    files.put("chain.pem", leaf + &bundle);
    for arguments in [
        &["--anchor", "root.pem", "--intermediate", "factory.pem", "--leaf", "leaf.pem"][..],
        &["--anchor", "root.pem", "--intermediate", "bundle.pem", "--leaf", "leaf.der"],
        &["--anchor", "root.pem", "--leaf", "chain.pem", "--purpose", "client"],
        &["--anchor", "root.pem", "--leaf", "chain.pem", "--registration-id", "DEV-1", "--at", "2027-01-01"],
    ] {
        let ended = files.verify(arguments).await;
        assert_eq!(ended.code, 0, "{arguments:?} {ended:?}");
        let at = |text: &str| ended.stdout.find(text).unwrap();
        assert!(at("CN=dev-1") < at("CN=Factory") && at("anchor") > at("intermediate"), "{ended:?}");
        assert!(ended.last_line().starts_with("valid at 20"), "{ended:?}");
    }
    let json = files.verify(&["--anchor", "root.pem", "--leaf", "chain.pem", "--json"]).await.json();
    let subjects: Vec<_> =
        json["certificates"].as_array().unwrap().iter().map(|one| &one["subject"]).collect();
    assert_eq!(subjects, ["CN=dev-1", "CN=Factory", "CN=Root"]);
    assert_eq!(json["valid"], true);
}

#[tokio::test]
async fn a_refusal_names_the_broken_rule_with_status_1() {
    let files = Files::new();
    files.put(
        "server.pem",
        files.root.issue(&Profile { form: Form::ServerOnly, ..Profile::device("s") }).pem(),
    );
    let bare = files.root.authority(&Profile { form: Form::Bare, ..Profile::ca("Bare") });
    files.put("bare.pem", bare.identity().pem());
    files.put("below-bare.pem", bare.device("dev-1").pem());
    for (arguments, rule) in [
        (&["--leaf", "leaf.pem"][..], "issued CN=dev-1; missing is CN=Factory"),
        (
            &["--leaf", "leaf.pem", "--intermediate", "factory.pem", "--at", "1999-01-01"],
            "is not valid before",
        ),
        (
            &["--leaf", "leaf.pem", "--intermediate", "factory.pem", "--registration-id", "x"],
            "common name is",
        ),
        (&["--leaf", "server.pem", "--purpose", "client"], "is not for client authentication"),
        (&["--leaf", "below-bare.pem", "--intermediate", "bare.pem"], "does not say that it is a CA"),
    ] {
        let ended = files.verify(&[&["--anchor", "root.pem"], arguments].concat()).await;
        assert_eq!(ended.code, 1, "{arguments:?} {ended:?}");
        assert!(ended.last_line().contains(rule), "{arguments:?} {ended:?}");
        assert!(ended.stdout.contains("CN=Root"), "the given certificates are printed: {ended:?}");
    }
}

/// The command applies the limits of the TLS handshake: 10 certificates and 16 KiB.
#[tokio::test]
async fn a_chain_that_the_tls_handshake_refuses_is_refused() {
    let files = Files::new();
    let sent = |name: &str, count: usize| {
        let chain = std::iter::repeat_n(files.factory.identity().pem(), count);
        files
            .put(name, std::iter::once(files.factory.device("dev-1").pem()).chain(chain).collect::<String>());
    };
    sent("ten.pem", 9);
    sent("eleven.pem", 10);
    let long = files.factory.authority(&Profile::ca(&"x".repeat(5_000))).identity().pem();
    files.put("long.pem", files.factory.device("dev-1").pem() + &long.repeat(4));
    let factory = ["--anchor", "factory.pem", "--leaf"];
    let ended = files.verify(&[&factory[..], &["ten.pem"]].concat()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for (file, has) in [("eleven.pem", "11 certificates"), ("long.pem", "5 certificates of 2")] {
        let ended = files.verify(&[&factory[..], &[file]].concat()).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        let last_line = ended.last_line();
        assert!(
            last_line.contains("the TLS handshake refuses the client's chain") && last_line.contains(has),
            "{last_line}"
        );
    }
}

#[tokio::test]
async fn an_unreadable_file_is_named_with_status_2() {
    let files = Files::new();
    files.put("empty.pem", "");
    files.put("key.pem", files.root.identity().key_pem());
    files.put("cut.der", &files.root.identity().der()[..100]);
    for file in ["none.pem", "empty.pem", "key.pem", "cut.der"] {
        let ended = files.verify(&["--anchor", "root.pem", "--leaf", file]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains(file), "{ended:?}");
    }
    for wrong in [&["--leaf", "leaf.pem"][..], &["--anchor", "root.pem"], &["--at", "soon"]] {
        assert_eq!(files.verify(wrong).await.code, 2, "{wrong:?}");
    }
}
