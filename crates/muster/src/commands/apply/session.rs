//! Reads and writes the objects of a service, each by the calls of its kind.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use fleet::{ImportOptions, LinkCheck, OperatorError, ResourcePath, ServiceClient, Upload};
use model::HostName;
use serde_json::{Map, Value, json};

use super::{
    document::{Document, Kind, MARK},
    prune::Removal,
};
use crate::commands::{enrollment::SET_BY_SERVICE, instance::HOST};

/// An object as the service has it.
#[derive(Clone, PartialEq)]
pub struct Stored {
    /// Its members in the form of documents.
    pub members: Map<String, Value>,
    /// Its version; access policies have none.
    pub etag: Option<String>,
}

/// What the service would do with an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It would create or change it.
    Differs,
    /// It would leave it as it is.
    Same,
}

/// The instances of a service, over one client.
pub struct Session {
    client: ServiceClient,
    subscription: String,
    resource_group: String,
    /// The hosts of the instances that exist.
    hosts: BTreeMap<String, HostName>,
}

impl Session {
    pub fn new(client: ServiceClient, subscription: String, resource_group: String) -> Session {
        Session { client, subscription, resource_group, hosts: BTreeMap::new() }
    }

    /// Makes the following calls where the object of a document is. Returns false if there is no such instance.
    async fn select(&mut self, document: &Document) -> anyhow::Result<bool> {
        let exists = self.select_instance(document.instance.as_deref()).await?;
        if matches!(document.kind, Kind::Instance | Kind::Policy) {
            self.client.call_host(None);
        }
        Ok(exists)
    }

    /// Makes the following calls at an instance, or at that of the connection. Returns false if there is no such instance.
    pub async fn select_instance(&mut self, name: Option<&str>) -> anyhow::Result<bool> {
        self.client.call_host(None);
        let Some(name) = name else { return Ok(true) };
        if !self.hosts.contains_key(name) {
            let Some(instance) = self.client.find_instance(&self.path(name)).await? else { return Ok(false) };
            let host = instance.pointer(HOST).and_then(Value::as_str);
            let host = host.with_context(|| format!("the instance {name} has no host name"))?;
            self.hosts.insert(name.to_owned(), HostName::parse(host)?);
        }
        self.client.call_host(self.hosts.get(name).cloned());
        Ok(true)
    }

    /// Returns the names and etags of the enrollments of an instance with the mark of this owner.
    pub async fn owned(
        &mut self,
        kind: Kind,
        instance: Option<&str>,
        owner: &str,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let kind = kind.enrollment().context("not an enrollment")?;
        match self.select_instance(instance).await? {
            true => Ok(self.client.managed_enrollments(kind, owner).await?),
            false => Ok(Vec::new()),
        }
    }

    /// Deletes an enrollment. Fails if it was changed since it was read.
    pub async fn remove(&mut self, removal: &Removal) -> anyhow::Result<()> {
        let kind = removal.kind.enrollment().context("not an enrollment")?;
        self.select_instance(removal.instance.as_deref()).await?;
        self.client.delete_enrollment_version((kind, &removal.name), &removal.etag).await?;
        Ok(())
    }

    /// Reads the object of a document; `None` if it does not exist.
    pub async fn read(&mut self, document: &Document) -> anyhow::Result<Option<Stored>> {
        if !self.select(document).await? {
            return Ok(None);
        }
        let (kind, name) = (document.kind, document.name.as_str());
        let read = match kind {
            Kind::Instance => self.client.find_instance(&self.path(name)).await?,
            Kind::Policy => self.policy(document).await?,
            Kind::CaCertificate => found(self.client.ca_certificate(name).await)?,
            Kind::Hub => found(self.client.linked_hub(name).await)?,
            Kind::Group | Kind::Enrollment => self.enrollment(document).await?,
        };
        let Some(read) = read else { return Ok(None) };
        let etag = read.get("etag").and_then(Value::as_str).map(str::to_owned);
        let members = if kind == Kind::CaCertificate { read.get("properties") } else { Some(&read) };
        let members = members.and_then(Value::as_object).context("the reply is not an object")?;
        let mut members = members.clone();
        match kind.enrollment() {
            Some(_) => members.retain(|member, _| !SET_BY_SERVICE.contains(&member.as_str())),
            None => members.retain(|member, _| kind.members().contains(&member.as_str())),
        }
        Ok(Some(Stored { members, etag }))
    }

    async fn policy(&mut self, document: &Document) -> anyhow::Result<Option<Value>> {
        let instance = document.instance.as_deref().unwrap_or_default();
        let reply = self.client.policies(&self.path(instance)).await?;
        let policies = reply.get("value").and_then(Value::as_array).context("the reply is not a list")?;
        let is_meant = |policy: &&Value| {
            policy["keyName"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(&document.name))
        };
        Ok(policies.iter().find(is_meant).cloned())
    }

    /// Reads an enrollment, with its keys if the document has some.
    async fn enrollment(&mut self, document: &Document) -> anyhow::Result<Option<Value>> {
        let kind = document.kind.enrollment().context("not an enrollment")?;
        let mut read = found(self.client.read_enrollment(kind, &document.name).await)?;
        let names_keys =
            document.members.get("attestation").is_some_and(|it| it.get("symmetricKey").is_some());
        if let Some(read) = read.as_mut().filter(|_| names_keys) {
            read["attestation"] = self.client.attestation(kind, &document.name).await?;
        }
        Ok(read)
    }

    /// Asks the service whether an enrollment would become another one, and checks it.
    pub async fn compare_enrollment(
        &mut self,
        document: &Document,
        body: &Value,
    ) -> anyhow::Result<Comparison> {
        let kind = document.kind.enrollment().context("not an enrollment")?;
        if !self.select(document).await? {
            return Ok(Comparison::Differs);
        }
        let options = ImportOptions { replace: true, generate_keys: true, dry_run: true };
        let reply = self.client.import_enrollments(kind, &[body], options).await?;
        match reply.errors.first() {
            Some(error) => bail!("{} {}", error.error_code, error.error_status),
            None if reply.unchanged == 1 => Ok(Comparison::Same),
            None => Ok(Comparison::Differs),
        }
    }

    /// Creates or changes the object of a document. Fails if the stored one is not the one that was read.
    pub async fn write(
        &mut self,
        document: &Document,
        stored: Option<&Stored>,
        body: &Value,
    ) -> anyhow::Result<()> {
        if !self.select(document).await? && document.kind != Kind::Instance {
            bail!("there is no instance {}", document.instance.as_deref().unwrap_or_default());
        }
        let (name, etag) = (document.name.as_str(), stored.and_then(|stored| stored.etag.as_deref()));
        let instance = document.instance.as_deref().unwrap_or_default();
        match document.kind {
            Kind::Instance => {
                let path = self.path(name);
                match stored {
                    Some(_) => drop(self.client.put_instance(&path, body, etag).await?),
                    None => {
                        let created = self.client.create_instance(&path, body).await?;
                        created.context("an instance of this name was created since it was read")?;
                    }
                }
                self.hosts.remove(name);
            }
            Kind::Policy => {
                if self.read(document).await?.as_ref() != stored {
                    bail!("the access policy was changed since it was read");
                }
                self.client.put_policy(&self.path(instance), name, body).await?;
            }
            Kind::CaCertificate => {
                let certificate = body["certificate"].as_str().context("certificate must be a text")?;
                let is_verified = body["isVerified"].as_bool();
                let upload = Upload { name, certificate, is_verified, if_match: etag };
                self.client.put_ca_certificate(upload).await?;
            }
            Kind::Hub => {
                self.client.put_linked_hub(name, body, etag, LinkCheck::First).await?;
            }
            Kind::Group | Kind::Enrollment => {
                let kind = document.kind.enrollment().context("not an enrollment")?;
                self.client.put_enrollment((kind, name), body, etag).await?;
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> ResourcePath {
        ResourcePath {
            subscription: self.subscription.clone(),
            resource_group: self.resource_group.clone(),
            name: name.to_owned(),
        }
    }
}

fn found(read: Result<Value, OperatorError>) -> Result<Option<Value>, OperatorError> {
    match read {
        Err(OperatorError::Refused(refusal)) if refusal.status == 404 => Ok(None),
        read => read.map(Some),
    }
}

/// Returns the body of the request that makes a stored object what a document says. An enrollment that it creates gets the mark of
/// the owner; one that exists keeps what it has.
pub fn body(document: &Document, stored: Option<&Stored>, owner: &str) -> Value {
    let mut body = document.members.clone();
    if document.kind.enrollment().is_some() && stored.is_none() {
        body.insert(MARK.to_owned(), owner.into());
    }
    match document.kind {
        // The service keeps what is left out.
        Kind::Policy => {}
        Kind::Instance => {
            body.entry("sku").or_insert_with(|| json!({"name": "S1"}));
            body.entry("properties").or_insert_with(|| json!({}));
        }
        Kind::CaCertificate | Kind::Hub | Kind::Group | Kind::Enrollment => {
            // The proof of possession is that of the stored certificate.
            let stored = stored.iter().flat_map(|stored| &stored.members);
            for (member, value) in stored.filter(|(member, _)| *member != "isVerified") {
                body.entry(member.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    Value::Object(body)
}
