//! Prints the results as tables.

use std::time::Duration;

use super::{Engines, FirstAndAgain, Usage};
use crate::table::{micros, row, table};

/// Prints both stores side by side.
pub(super) fn engines(rows: &[Engines]) {
    let mut table = table(&[
        "CPU per registration, 128 in flight",
        "embedded, first µs",
        "PostgreSQL, first µs",
        "÷ embedded",
        "embedded, again µs",
        "PostgreSQL, again µs",
        "÷ embedded",
        "database, first µs",
        "database, again µs",
    ]);
    for Engines { kind, embedded, shared } in rows {
        let [first, again] = [0, 1].map(|at| {
            let (embedded, shared) = (embedded[at].nodes, shared[at].nodes);
            [micros(embedded), micros(shared), ratio(shared, embedded)]
        });
        let database = shared.map(|cost| micros(cost.database));
        table.add_row(row(kind.title(), &[&first[..], &again, &database].concat()));
    }
    println!("{table}");
    println!(
        "CPU of the node with its store, kept HTTPS connections, hubs of another process linked over REST; database: CPU of"
    );
    println!("all processes of PostgreSQL. Medians of alternating turns.\n");
}

/// Prints the cost of the database by registrations in flight.
pub(super) fn levels(levels: &[usize], costs: &[FirstAndAgain]) {
    let header = [
        "registrations in flight",
        "database, first µs",
        "database, again µs",
        "node, first µs",
        "node, again µs",
    ];
    let mut table = table(&header);
    for (in_flight, costs) in levels.iter().zip(costs) {
        table.add_row(row(&in_flight.to_string(), &both(costs)));
    }
    println!("{table}");
    println!("CPU by the key of a group. What comes in while a transaction is under way is the next one.\n");
}

/// Prints what registrations take of the database, one at a time and many at once.
pub(super) fn usage([alone, together]: [[Usage; 2]; 2]) {
    let mut table = table(&[
        "the database, per registration",
        "first, one at a time",
        "again, one at a time",
        "first, 128 in flight",
        "again, 128 in flight",
    ]);
    let mut add = |title: &str, decimals: usize, of: fn(&Usage) -> f64| {
        let figures = [alone, together].concat();
        let figures: Vec<String> = figures.iter().map(|usage| format!("{:.decimals$}", of(usage))).collect();
        table.add_row(row(title, &figures));
    };
    add("statements", 2, |usage| usage.traffic.statements);
    add("round trips", 2, |usage| usage.traffic.round_trips);
    add("commits", 2, |usage| usage.traffic.commits);
    add("rows", 2, |usage| usage.rows);
    add("bytes of tables and indexes", 0, |usage| usage.bytes);
    add("bytes of the write-ahead log", 0, |usage| usage.wal);
    println!("{table}");
    println!(
        "A commit takes two round trips, for its locks and its writes; the round trips of others are reads.\n"
    );
}

/// Prints one node against two.
pub(super) fn nodes([one, two]: [FirstAndAgain; 2]) {
    let header = [
        "nodes, 128 in flight at all of them",
        "database, first µs",
        "database, again µs",
        "nodes, first µs",
        "nodes, again µs",
        "first ÷ one node",
        "again ÷ one node",
    ];
    against_first(&header, &[(1, one), (2, two)]);
    println!("CPU of all nodes and of the database on the same cores. Medians of alternating turns.\n");
}

/// Prints costs by number of enrollments.
pub(super) fn sizes(rows: &[(usize, FirstAndAgain)]) {
    let header = [
        "enrollments",
        "database, first µs",
        "database, again µs",
        "node, first µs",
        "node, again µs",
        "first ÷ fewest",
        "again ÷ fewest",
    ];
    against_first(&header, rows);
    println!("individual enrollments with symmetric keys, devices spread over all of them, 128 in flight.\n");
}

/// Prints costs by a number, and what they are in relation to those of the first row.
fn against_first(header: &[&str], rows: &[(usize, FirstAndAgain)]) {
    let mut table = table(header);
    let all = |costs: &FirstAndAgain| costs.map(|cost| cost.nodes + cost.database);
    let [of_first, of_again] = rows.first().map(|(_, costs)| all(costs)).unwrap_or_default();
    for (number, costs) in rows {
        let [first, again] = all(costs);
        let ratios = [ratio(first, of_first), ratio(again, of_again)];
        table.add_row(row(&number.to_string(), &[&both(costs)[..], &ratios].concat()));
    }
    println!("{table}");
}

fn both(costs: &FirstAndAgain) -> Vec<String> {
    let [first, again] = costs;
    [first.database, again.database, first.nodes, again.nodes].map(micros).to_vec()
}

fn ratio(time: Duration, other: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() / other.as_secs_f64())
}
