//! Documents of files: one for each object, in YAML or JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, anyhow, bail};
use fleet::EnrollmentKind;
use serde_json::{Map, Value};
use wire::without_bom;

use super::{schema, value::resolve};
use crate::commands::enrollment::SET_BY_SERVICE;

/// The size of a file, in bytes: some 10,000 documents.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The endings of the files that are read of a directory.
const ENDINGS: [&str; 4] = ["yaml", "yml", "json", "jsonl"];

/// The member of enrollments by which `muster apply` finds what it made. Documents do not set it.
pub const MARK: &str = "managedBy";

/// The kinds of objects, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A service instance.
    Instance,
    /// A shared access policy.
    Policy,
    /// A CA certificate.
    CaCertificate,
    /// A linked hub.
    Hub,
    /// An enrollment group.
    Group,
    /// An individual enrollment.
    Enrollment,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] =
        [Kind::Instance, Kind::Policy, Kind::CaCertificate, Kind::Hub, Kind::Group, Kind::Enrollment];

    /// Returns the name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Instance => "instance",
            Kind::Policy => "policy",
            Kind::CaCertificate => "caCertificate",
            Kind::Hub => "hub",
            Kind::Group => "group",
            Kind::Enrollment => "enrollment",
        }
    }

    /// Returns the kind of enrollment, if it is one.
    pub fn enrollment(self) -> Option<EnrollmentKind> {
        match self {
            Kind::Group => Some(EnrollmentKind::Group),
            Kind::Enrollment => Some(EnrollmentKind::Individual),
            _ => None,
        }
    }

    /// Returns the members that a document may have besides its kind, name and instance. Those of enrollments are in
    /// [`EnrollmentKind::shape`].
    pub fn members(self) -> &'static [&'static str] {
        match self {
            Kind::Instance => &["location", "tags", "sku", "properties"],
            Kind::Policy => &["rights", "primaryKey", "secondaryKey"],
            Kind::CaCertificate => &["certificate", "isVerified"],
            Kind::Hub => &[
                "connectionString",
                "caCertificates",
                "location",
                "allocationWeight",
                "applyAllocationPolicy",
                "maxDevices",
            ],
            Kind::Group | Kind::Enrollment => &[],
        }
    }

    fn unknown_member(self, members: &Map<String, Value>) -> Option<String> {
        match self.enrollment() {
            Some(kind) => kind.shape().unknown_member(members),
            None => {
                let unknown = members.keys().find(|name| !self.members().contains(&name.as_str())).cloned();
                unknown.or_else(|| schema::unknown_member(self, members))
            }
        }
    }
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    file: Rc<Path>,
    line: usize,
    /// The number of the document in its file, from 1.
    number: usize,
}

/// Writes `FILE:LINE (document NUMBER)`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (document {})", self.file.display(), self.line, self.number)
    }
}

/// What an object should be. Has no `Debug`, because it may contain keys.
pub struct Document {
    /// Where it is.
    pub origin: Origin,
    /// The kind of the object.
    pub kind: Kind,
    /// The name of the object, or the ID of an enrollment.
    pub name: String,
    /// The instance that the object is of; `None` for that of the connection.
    pub instance: Option<String>,
    /// The members that it names, in the form of the service API.
    pub members: Map<String, Value>,
    /// Those of them with a value from a file or a variable, which is never shown.
    pub secrets: BTreeSet<String>,
}

/// Reads the documents of files and directories, in the order in which they are applied.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for file in files(paths)? {
        documents.extend(read_file(&file)?);
    }
    let mut seen = BTreeMap::new();
    for document in &documents {
        let instance = document.instance.as_ref().map(|name| name.to_ascii_lowercase());
        let key = (document.kind, instance, document.name.to_ascii_lowercase());
        if let Some(first) = seen.insert(key, &document.origin) {
            let (kind, name) = (document.kind.name(), &document.name);
            bail!("{}: the {kind} {name} is also at {first}", document.origin);
        }
    }
    documents.sort_by_key(|document| document.kind);
    Ok(documents)
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut found = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        found.retain(|file| file.extension().is_some_and(|end| ENDINGS.iter().any(|it| end == *it)));
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn read_file(path: &Path) -> anyhow::Result<Vec<Document>> {
    let context = || path.display().to_string();
    if fs::metadata(path).with_context(context)?.len() > MAX_FILE_BYTES {
        bail!("{} is longer than {MAX_FILE_BYTES} bytes", path.display());
    }
    let bytes = fs::read(path).with_context(context)?;
    let text = str::from_utf8(without_bom(&bytes)).with_context(context)?;
    let is_of_lines = path.extension().is_some_and(|end| end == "jsonl");
    let parts = if is_of_lines { lines(text) } else { parts(text) };
    let mut documents = Vec::new();
    for (line, part) in parts {
        let origin = |line| Origin { file: Rc::from(path), line, number: documents.len() + 1 };
        let options = serde_saphyr::options! { strict_booleans: true };
        let parsed = serde_saphyr::from_str_with_options::<Value>(&part, options);
        let parsed = parsed.map_err(|error| {
            let within = error.location().map_or(0, |it| usize::try_from(it.line()).unwrap_or(1).max(1) - 1);
            // The next lines of the message show the text around it, which may have keys.
            let message = error.to_string().lines().next().unwrap_or_default().to_owned();
            // After "error: line L column C: ", where L counts from the begin of the document.
            let message = message.splitn(3, ": ").nth(2).unwrap_or(&message);
            anyhow!("{}: {message}", origin(line + within))
        })?;
        if parsed != Value::Null {
            documents.push(Document::parse(origin(first_line(line, &part)), parsed, &part)?);
        }
    }
    Ok(documents)
}

/// Splits a file at the lines that begin a document, and returns each with the number of its first line.
fn parts(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        let is_separator = ["---", "..."].iter().any(|it| {
            line.strip_prefix(it).is_some_and(|rest| rest.trim().is_empty() || rest.trim().starts_with('#'))
        });
        if is_separator {
            parts.push((index + 2, String::new()));
        } else if let Some((_, part)) = parts.last_mut() {
            *part += line;
            part.push('\n');
        }
    }
    parts
}

fn lines(text: &str) -> Vec<(usize, String)> {
    (1..).zip(text.lines().map(str::to_owned)).filter(|(_, line)| !line.trim().is_empty()).collect()
}

/// Returns the number of the first line with content.
fn first_line(line: usize, part: &str) -> usize {
    let is_empty = |text: &&str| text.trim().is_empty() || text.trim().starts_with('#');
    line + part.lines().take_while(is_empty).count()
}

impl Document {
    fn parse(origin: Origin, value: Value, text: &str) -> anyhow::Result<Document> {
        // The origin of a member, where its name begins a line.
        let of_member = |member: &str| {
            let name = member.rsplit('.').next().unwrap_or_default();
            let is_there = |line: &str| line.trim_start_matches([' ', '-', '"', '{']).starts_with(name);
            let within = text.lines().position(is_there).unwrap_or(0);
            let begin = text.lines().count().min(first_line(0, text));
            Origin { line: origin.line + within.saturating_sub(begin), ..origin.clone() }
        };
        let Value::Object(mut members) = value else { bail!("{origin}: the document is not an object") };
        let folder = origin.file.parent().unwrap_or(Path::new(""));
        let secrets = resolve(&mut members, folder).with_context(|| origin.to_string())?;
        let mut word = |name: &str| match members.shift_remove(name) {
            None => Ok(None),
            Some(Value::String(word)) if !word.is_empty() => Ok(Some(word)),
            Some(_) => Err(anyhow!("{}: {name} must be a text; quote it", of_member(name))),
        };
        let (kind, name, instance) = (word("kind")?, word("name")?, word("instance")?);
        let kind =
            Document::kind(kind.as_deref(), &members).with_context(|| of_member("kind").to_string())?;
        if kind.enrollment().is_some() {
            members.retain(|member, _| member != MARK && !SET_BY_SERVICE.contains(&member.as_str()));
        }
        let name = Document::name(kind, name, &mut members).with_context(|| origin.to_string())?;
        if let Some(member) = kind.unknown_member(&members) {
            bail!("{}: a document of the kind {} has no member {member}", of_member(&member), kind.name());
        }
        for (member, advice) in
            [("iotHubs", Kind::Hub.name()), ("authorizationPolicies", Kind::Policy.name())]
        {
            if members.get("properties").is_some_and(|it| it.get(member).is_some()) {
                bail!("{}: use documents of the kind {advice} instead of {member}", of_member(member));
            }
        }
        if kind == Kind::Policy && instance.is_none() {
            bail!("{origin}: a policy needs the member instance");
        }
        Ok(Document { origin, kind, name, instance, members, secrets })
    }

    /// Returns the kind; exports of enrollments name it by their ID.
    fn kind(named: Option<&str>, members: &Map<String, Value>) -> anyhow::Result<Kind> {
        let Some(named) = named else {
            let is_there =
                |kind: &Kind| kind.enrollment().is_some_and(|kind| members.contains_key(kind.id_member()));
            return Kind::ALL.into_iter().find(is_there).context("the member kind is missing");
        };
        let known = Kind::ALL.into_iter().find(|kind| kind.name() == named);
        let names = Kind::ALL.map(Kind::name).join(", ");
        known.with_context(|| format!("unknown kind {named}; known are {names}"))
    }

    /// Returns the name, which enrollments also have as their ID.
    fn name(kind: Kind, name: Option<String>, members: &mut Map<String, Value>) -> anyhow::Result<String> {
        let Some(kind) = kind.enrollment() else { return name.context("the member name is missing") };
        let member = kind.id_member();
        let id =
            members.get(member).map(|id| id.as_str().with_context(|| format!("{member} must be a text")));
        let id = id.transpose()?.map(str::to_owned);
        let name = match (name, id) {
            (Some(name), Some(id)) if name != id => bail!("name and {member} differ"),
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => bail!("the member name is missing"),
        };
        members.insert(member.to_owned(), Value::String(name.clone()));
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(name: &str, text: &str) -> anyhow::Result<Vec<Document>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let shown = folder.path().display().to_string() + "/";
        read(&[file]).map_err(|error| {
            let text = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
            anyhow!(text.replace(&shown, ""))
        })
    }

    #[test]
    fn documents_are_applied_in_the_order_of_their_kinds() {
        let text = "# a plant\nkind: enrollment\nname: dev-1\nattestation: {type: tpm}\n---\n\nkind: hub\nname: h.example\n\
                    location: no\n--- # the last\nkind: instance\nname: plant\n---\n";
        let documents = parse("a.yaml", text).unwrap();
        let found: Vec<_> =
            documents.iter().map(|it| (it.kind.name(), it.name.as_str(), it.origin.line)).collect();
        assert_eq!(found, [("instance", "plant", 11), ("hub", "h.example", 7), ("enrollment", "dev-1", 2)]);
        assert_eq!(documents[1].members["location"], "no");
        assert_eq!(documents[2].members["registrationId"], "dev-1");
        let exported = "{\"registrationId\":\"a\",\"etag\":\"x\"}\n\n{\"enrollmentGroupId\":\"b\"}\n";
        let documents = parse("export.jsonl", exported).unwrap();
        assert_eq!((documents[0].kind, documents[1].kind), (Kind::Group, Kind::Enrollment));
        assert_eq!(Value::from(documents[1].members.clone()), json!({"registrationId": "a"}));
    }

    #[test]
    fn mistakes_are_named_with_file_line_and_document() {
        for (text, expected) in [
            ("kind: hub\nname: a\n---\nkind: hub\nname: [b\n", "a.yaml:5 (document 2): "),
            ("kind: hub\nkind: hub\n", "a.yaml:2 (document 1): duplicate"),
            ("- 1\n", "a.yaml:1 (document 1): the document is not an object"),
            ("\nkind: hubs\n", "a.yaml:2 (document 1): unknown kind hubs; known are instance, policy, "),
            ("name: a\n", "the member kind is missing"),
            ("kind: hub\n", "a.yaml:1 (document 1): the member name is missing"),
            ("kind: hub\nname: 7\n", "a.yaml:2 (document 1): name must be a text; quote it"),
            (
                "kind: hub\nname: a\nweight: 1\n",
                "a.yaml:3 (document 1): a document of the kind hub has no member weight",
            ),
            (
                "kind: group\nname: a\ncapabilities:\n  iotEgde: true\n",
                "a.yaml:4 (document 1): a document of the kind group has no member capabilities.iotEgde",
            ),
            ("kind: instance\nname: a\nproperties:\n  iotHubs: []\n", "use documents of the kind hub"),
            (
                "kind: instance\nname: a\nproperties:\n  muster:\n    failovr: true\n",
                "a.yaml:5 (document 1): a document of the kind instance has no member properties.muster.failovr",
            ),
            (
                "kind: instance\nname: a\nproperties: {ipFilterRules: [{mask: 10.0.0.0/8}]}\n",
                "has no member properties.ipFilterRules.mask",
            ),
            ("kind: policy\nname: a\n", "needs the member instance"),
            ("kind: enrollment\nname: a\nregistrationId: b\n", "name and registrationId differ"),
            ("kind: hub\nname: a\n---\nkind: hub\nname: A\n", "the hub A is also at a.yaml:1 (document 1)"),
            ("kind: hub\nname: a\nlocation: {$env: MUSTER_NOT_SET}\n", "MUSTER_NOT_SET is not set"),
            ("kind: hub\nname: a\nlocation: {$file: none}\n", "none"),
        ] {
            let error = parse("a.yaml", text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{text}\n{error}");
        }
    }
}
