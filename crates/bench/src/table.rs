//! Prints the results as tables.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::{
    change_log::LogCost,
    child::Hub,
    decide::Rates,
    hostile::{Crowd, Hostile, Load, Refused, Unproven},
    load::{Cost, RegistrationCosts, Throughput},
    outage::{HubState, OutageRate},
    scale::{AtSize, IdleMemory},
    tpm::Costs,
};

/// Prints server CPU times by credentials, transport and connection.
pub fn registrations(lines: &[RegistrationCosts]) {
    let mut table = table(&[
        "server CPU per registration",
        "bare µs",
        "first µs",
        "÷ bare",
        "first/s",
        "again µs",
        "÷ bare",
        "again/s",
        "bare/s",
    ]);
    for line in lines {
        let ratio = |cost: Cost| format!("{:.2}", cost.cpu.as_secs_f64() / line.bare.cpu.as_secs_f64());
        table.add_row(row(
            &line.title,
            &[
                micros(line.bare.cpu),
                micros(line.first.cpu),
                ratio(line.first),
                rate(line.first),
                micros(line.again.cpu),
                ratio(line.again),
                rate(line.again),
                rate(line.bare),
            ],
        ));
    }
    println!("{table}");
    println!(
        "first: a new device, with two durable commits and one in its hub; again: a later registration without"
    );
    println!("changes, with one durable commit. Rates are wall rates with the load on the same cores.\n");
}

/// Registrations per second, all transports side by side.
pub fn throughput(lines: &[Throughput]) {
    let mut table = table(&[
        "registrations per second (server CPU µs)",
        "fresh, first",
        "fresh, again",
        "kept, first",
        "kept, again",
    ]);
    for line in lines {
        let figure = |cost: &Cost| format!("{:.0} ({})", cost.rate, micros(cost.cpu));
        let figures: Vec<String> = line.fresh.iter().chain(&line.kept).map(figure).collect();
        table.add_row(row(line.transport.name(), &figures));
    }
    println!("{table}");
    println!("symmetric keys of a group; wall rates with the load on the same cores\n");
}

/// Prints the share of the hub.
pub fn hub(hub: &Hub) {
    let mut table = table(&["of which the embedded hub, measured alone", "µs"]);
    table.add_row(row("a new device with its twin, durable", &[format!("{:.0}", hub.create_us)]));
    table.add_row(row("an unchanged device", &[format!("{:.0}", hub.confirm_us)]));
    println!("{table}\n");
}

/// Prints the share of the change log.
pub fn change_log(cost: &LogCost) {
    let mut table = table(&["of which the change log, at the store", "µs", "of commits' µs", "bytes"]);
    let log = format!("{:.1}", cost.log.as_secs_f64() * 1e6);
    table.add_row(row("two entries of a registration", &[log, micros(cost.commits), cost.bytes.to_string()]));
    println!("{table}\n");
}

/// Prints decisions by policy and number of hubs.
pub fn decisions(rates: &[Rates]) {
    let mut table = table(&["decisions per second, one core", "1 hub", "10 hubs", "50 hubs"]);
    for Rates { title, per_second } in rates {
        table.add_row(row(title, &per_second.map(|rate| format!("{rate:.0}"))));
    }
    println!("{table}");
    println!("a decision: the hub for a device of a group, with its record of candidates.\n");
}

/// Prints registrations with a TPM.
pub fn tpm(costs: &Costs) {
    let mut table = table(&["devices with a TPM and RSA-2048 keys", "µs", "÷ bare", "per second"]);
    let mut add = |title: &str, time: Duration, rate: String| {
        let ratio = format!("{:.2}", time.as_secs_f64() / costs.rsa.as_secs_f64());
        table.add_row(row(title, &[micros(time), ratio, rate]));
    };
    add("two RSA-OAEP encryptions", costs.rsa, String::new());
    add("a challenge alone", costs.challenge, String::new());
    for (connection, [first, again]) in
        [("fresh", costs.registrations.fresh), ("kept", costs.registrations.kept)]
    {
        add(&format!("a whole registration, {connection} connection, first"), first.cpu, rate(first));
        add(&format!("a whole registration, {connection} connection, again"), again.cpu, rate(again));
    }
    println!("{table}");
    println!(
        "a registration: a challenge and its proof over HTTPS, and a second blob with the key for the hub, so"
    );
    println!(
        "four RSA encryptions; server CPU, with the TPMs in the process of the load. Keys are parsed each time, as"
    );
    println!("from a TPM; rates are wall rates with the load on the same cores.\n");
}

/// Prints registrations while a hub is slow or down.
pub fn outage(all: &[OutageRate]) {
    let healthy =
        all.iter().find(|outage| outage.state == HubState::Healthy).map_or(f64::NAN, |outage| outage.rate);
    let mut table = table(&["one of three linked hubs is", "registrations/s at the others", "÷ healthy"]);
    for outage in all {
        let ratio = format!("{:.2}", outage.rate / healthy);
        table.add_row(row(&outage.state.to_string(), &[format!("{:.0}", outage.rate), ratio]));
    }
    println!("{table}");
    println!(
        "first registrations over fresh HTTPS connections; hubs of another process, linked over REST. While the"
    );
    println!("third is slow or down, the others use the cores of its devices: hence more than 1.\n");
}

/// Prints the results about hostile peers.
pub fn hostile(hostile: &Hostile) {
    refusals(&hostile.refusals);
    unproven(&hostile.unproven);
    crowds(&hostile.crowds);
}

fn refusals(rows: &[Refused]) {
    let mut table = table(&["a stranger is refused", "groups of each kind", "µs", "÷ honest", "per second"]);
    for Refused { evidence, groups, cost, honest } in rows {
        let ratio = format!("{:.2}", cost.cpu.as_secs_f64() / honest.cpu.as_secs_f64());
        table.add_row(row(evidence.title(), &[groups.to_string(), micros(cost.cpu), ratio, rate(*cost)]));
    }
    println!("{table}");
    println!(
        "server CPU on kept HTTPS connections; honest: a first registration by the key of a group beside as"
    );
    println!("many groups. Groups are by key, by signing certificate and by CA reference.\n");
}

fn unproven(rows: &[Unproven]) {
    let mut table = table(&["connections that have proven nothing", "kept open", "KiB each"]);
    for Unproven { title, connections, bytes_each } in rows {
        let kibibytes = format!("{:.1}", *bytes_each as f64 / 1024.0);
        table.add_row(row(title, &[connections.to_string(), kibibytes]));
    }
    println!("{table}\n");
}

fn crowds(rows: &[Crowd]) {
    let quiet = rows.iter().find(|row| row.load == Load::None);
    let ratio = |of: fn(&Crowd) -> Duration, row: &Crowd| {
        let quiet = quiet.map_or(f64::NAN, |quiet| of(quiet).as_secs_f64());
        format!("{:.2}", of(row).as_secs_f64() / quiet)
    };
    let header = [
        "honest devices beside",
        "reached",
        "µs each",
        "÷ quiet",
        "p50 ms",
        "÷ quiet",
        "p99 ms",
        "÷ quiet",
        "failed",
    ];
    let mut table = table(&header);
    for crowd in rows {
        let [median, high] = crowd.latency.map(|latency| format!("{:.1}", latency.as_secs_f64() * 1e3));
        let reached = if crowd.reached > 0.0 { format!("{:.0}/s", crowd.reached) } else { String::new() };
        table.add_row(row(
            &crowd.load.title(),
            &[
                reached,
                micros(crowd.cpu),
                ratio(|crowd| crowd.cpu, crowd),
                median,
                ratio(|crowd| crowd.latency[0], crowd),
                high,
                ratio(|crowd| crowd.latency[1], crowd),
                crowd.failed.to_string(),
            ],
        ));
    }
    println!("{table}");
    println!(
        "first registrations over fresh HTTPS connections at an even rate; µs: server CPU without the cost of the"
    );
    println!("strangers alone. Strangers, honest devices and server share the cores.\n");
}

/// Prints the memory of idle connections.
pub fn idle_memory(memory: &[IdleMemory]) {
    let mut table = table(&["idle connections", "number", "KiB each"]);
    for line in memory {
        let kibibytes = format!("{:.1}", line.bytes_each as f64 / 1024.0);
        table.add_row(row(line.transport.name(), &[line.connections.to_string(), kibibytes]));
    }
    println!("{table}\n");
}

/// Prints costs by number of enrollments.
pub fn sizes(rows: &[AtSize]) {
    let mut table = table(&[
        "enrollments",
        "disk B each",
        "start ms",
        "RSS at start MiB",
        "RSS after MiB",
        "first µs",
        "again µs",
    ]);
    for size in rows {
        table.add_row(row(
            &size.enrollments.to_string(),
            &[
                size.disk_each.to_string(),
                size.start.as_millis().to_string(),
                mebibytes(size.resident_at_start),
                mebibytes(size.resident),
                micros(size.first.cpu),
                micros(size.again.cpu),
            ],
        ));
    }
    println!("{table}");
    println!(
        "individual enrollments with symmetric keys; fresh HTTPS connections, devices spread over all of them"
    );
}

/// Starts a table with this header.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// Makes a row of figures.
pub fn row(title: &str, figures: &[String]) -> Vec<Cell> {
    let figures = figures.iter().map(|figure| Cell::new(figure).set_alignment(CellAlignment::Right));
    std::iter::once(Cell::new(title)).chain(figures).collect()
}

/// Writes a time in microseconds.
pub fn micros(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64() * 1e6)
}

fn rate(cost: Cost) -> String {
    format!("{:.0}", cost.rate)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1024.0 / 1024.0)
}
