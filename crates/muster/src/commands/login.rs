//! `muster login` and `muster logout`.

use std::{
    path::{Path, PathBuf, absolute},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::Args;
use fleet::{BrowserLogin, Login, LoginError, LoginFile, LoginSettings, Provider};
use model::{HostPort, Issuer};

use super::UsageError;
use crate::output;

/// Log in at the OpenID provider of a service, for commands without a connection string.
///
/// The provider shows a page where you log in, at another device or in a browser on this machine. Commands then call the service
/// with an access token, which is renewed until the provider ends the login. What is not given is that of the last login; another
/// provider or client gets nothing of it.
#[derive(Args)]
#[command(after_help = "Examples:
  muster login --service dps.plant.example --issuer https://login.plant.example/realms/plant --client-id muster
      prints an address and a code, also over SSH: open the address anywhere, and type the code
  muster login --browser
      the same settings as last time, in a browser on this machine
  muster enrollment list
      as the operator who logged in
  muster login --service one.example --service two.example:8443
      for two services; --service of a command says which one it calls
At the provider, the client is a public one, without a secret, with the grant of device codes (RFC 8628) or, for --browser, with
the redirect http://127.0.0.1/callback on any port. For Entra, leave out --audience and set
  --scope 'api://APPLICATION/.default offline_access'")]
pub struct LoginArgs {
    /// A service that gets the token: its host name, with the port unless that is 443. Repeatable.
    #[arg(long = "service", value_name = "HOST[:PORT]")]
    services: Vec<HostPort>,
    /// The provider: `issuer` in `[oidc]` of the service's configuration.
    #[arg(long, value_name = "URL", value_parser = |text: &str| Issuer::parse(text))]
    issuer: Option<Issuer>,
    /// The ID of this program at the provider.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// One of `audiences` in `[oidc]` of the service's configuration, for providers that take it as the parameter `resource`
    /// (RFC 8707).
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,
    /// The scopes, separated by spaces. Default: `openid offline_access`.
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// A PEM file with the CA certificates of the provider. Default: the CAs of the system.
    #[arg(long, value_name = "FILE")]
    issuer_ca: Option<PathBuf>,
    /// A PEM file with the CA certificates of the services. Default: the CAs of the system.
    #[arg(long, value_name = "FILE", env = "MUSTER_CA")]
    ca: Option<PathBuf>,
    /// Log in with a browser on this machine.
    #[arg(long)]
    browser: bool,
    /// The port on 127.0.0.1 for the redirect of the browser. Default: a free one.
    #[arg(long, value_name = "PORT", requires = "browser", default_value_t = 0, hide_default_value = true)]
    redirect_port: u16,
}

/// Revoke the tokens of the login at the provider, and delete them here.
#[derive(Args)]
#[command(after_help = "Example:
  muster logout")]
pub struct LogoutArgs {}

/// Runs `login`.
pub async fn login(args: LoginArgs) -> anyhow::Result<ExitCode> {
    let file = login_file()?;
    // One that cannot be read is replaced.
    let last = file.read().unwrap_or_default();
    let last = last.filter(|last| args.is_same(&last.settings));
    let (settings, services) = args.settings(last.as_ref())?;
    let files = |login: &Login| (login.issuer_ca.clone(), login.ca.clone());
    let (last_issuer_ca, last_ca) = last.as_ref().map(files).unwrap_or_default();
    let issuer_ca = or_last(args.issuer_ca.as_deref(), last_issuer_ca)?;
    let ca = or_last(args.ca.as_deref(), last_ca)?;
    let provider = Provider::discover(settings.clone(), Login::trust(issuer_ca.as_deref())?).await?;
    let tokens = match args.browser {
        true => {
            let login = BrowserLogin::begin(provider, args.redirect_port).await?;
            output::line("Open this address in a browser on this machine:")?;
            output::line(login.url())?;
            login.finish().await?
        }
        false => {
            let code = provider.begin_device_login().await?;
            output::line(format_args!(
                "Open {} and type the code {}",
                code.verification_uri, code.user_code
            ))?;
            if let Some(complete) = &code.complete_uri {
                output::line(format_args!("or open {complete}"))?;
            }
            provider.finish_device_login(&code).await?
        }
    };
    let login = Login::new(settings, services, (issuer_ca, ca), tokens);
    file.write(&login).await?;
    let services: Vec<String> = login.services.iter().map(HostPort::to_string).collect();
    output::line(format_args!(
        "logged in for {}; {} has the tokens",
        services.join(", "),
        file.path().display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `logout`.
pub async fn logout(LogoutArgs {}: LogoutArgs) -> anyhow::Result<ExitCode> {
    let file = login_file()?;
    let Some(login) = file.remove().await? else {
        output::line("there is no login")?;
        return Ok(ExitCode::SUCCESS);
    };
    match login.revoke().await {
        Ok(()) => output::line("logged out; the provider revoked the tokens")?,
        Err(LoginError::NotSupported(_)) => {
            output::line("logged out; the provider revokes no tokens, so they stay valid until they expire")?;
        }
        Err(error) => {
            let error = anyhow!(error).context("logged out here, but the provider did not revoke the tokens");
            return Err(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns where the login of this user is: below `$XDG_CONFIG_HOME`, or else below `~/.config`.
pub fn login_file() -> anyhow::Result<LoginFile> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    let folder = folder.context("neither XDG_CONFIG_HOME nor HOME is an absolute path")?;
    Ok(LoginFile::new(folder.join("muster")))
}

impl LoginArgs {
    /// Whether a login is at the same issuer, as the same client. Another one is another registration of this program, and its tokens
    /// are not for the same services.
    fn is_same(&self, last: &LoginSettings) -> bool {
        self.issuer.as_ref().is_none_or(|issuer| *issuer == last.issuer)
            && self.client_id.as_ref().is_none_or(|id| *id == last.client_id)
    }

    /// Returns the settings; those that are not given are of the last login.
    fn settings(&self, last: Option<&Login>) -> anyhow::Result<(LoginSettings, Vec<HostPort>)> {
        let same = last.map(|login| &login.settings);
        let issuer = self.issuer.clone().or_else(|| Some(same?.issuer.clone()));
        let client_id = self.client_id.clone().or_else(|| Some(same?.client_id.clone()));
        let scope = self.scope.clone().or_else(|| Some(same?.scope.clone()));
        let mut services = self.services.clone();
        if services.is_empty() {
            services = last.map(|last| last.services.clone()).unwrap_or_default();
        }
        match (issuer, client_id) {
            (Some(issuer), Some(client_id)) if !services.is_empty() => {
                let audience = self.audience.clone().or_else(|| same?.audience.clone());
                let scope = scope.unwrap_or_else(|| LoginSettings::DEFAULT_SCOPE.to_owned());
                Ok((LoginSettings { issuer, client_id, audience, scope }, services))
            }
            _ => {
                Err(UsageError("--service, --issuer and --client-id are required for the first login, and for one at another provider").into())
            }
        }
    }
}

/// Returns the absolute path of a file, or that of the last login.
fn or_last(given: Option<&Path>, last: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    match given {
        Some(path) => Ok(Some(absolute(path).with_context(|| path.display().to_string())?)),
        None => Ok(last),
    }
}
