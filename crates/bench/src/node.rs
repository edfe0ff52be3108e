//! A node of the service as a child process, with a configuration file as for `muster serve`.

use std::{fs, path::Path};

use net::CancellationToken;
use server::{
    app::{App, Plan},
    config::Config,
};
use testkit::{
    node::{ID_SCOPE, KEY},
    server_certificate::CA_FILE,
};

use crate::child::{Ready, report_ready_and_wait};

/// Serves with this configuration until standard input is closed.
pub async fn serve(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let app = App::open(Plan::of(&config, false)?).await?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(app.run(shutdown.clone()));
    let ready = Ready {
        https: config.listen.https.port(),
        mqtts: config.listen.mqtts.port(),
        amqps: config.listen.amqps.port(),
        id_scope: ID_SCOPE.to_owned(),
        ca_pem: fs::read_to_string(file.with_file_name(CA_FILE))?,
        service: format!("HostName=127.0.0.1;SharedAccessKeyName=owner;SharedAccessKey={KEY}"),
        group_key: KEY.to_owned(),
    };
    report_ready_and_wait(&ready).await?;
    shutdown.cancel();
    running.await?
}
