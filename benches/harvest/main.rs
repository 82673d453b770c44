//! What the job costs: `cargo bench`.
//!
//! The built program runs as its user runs it, against a simulated account on a real socket, and is measured from outside. With
//! `ELASTICSEARCH_TEST_URL` (`servers/start` prints one) it does the whole job, and a floor is measured in the same run. Counts are asserted. Times
//! and bytes are only printed, since machines differ. The plots in `docs/` are drawn anew. `cargo bench -- whole` runs one part: `whole`, `pace` or
//! `large`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod floor;
mod large;
mod pace;
mod plot;
mod process;
mod whole;

fn main() {
    if floor::is_asked_for() {
        return floor::run();
    }
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|one| !one.starts_with('-'))
        .collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    if wanted("whole") {
        match std::env::var("ELASTICSEARCH_TEST_URL") {
            Ok(url) => whole::run(&url),
            Err(_) => println!("the whole job: not measured, ELASTICSEARCH_TEST_URL names no server"),
        }
    }
    if wanted("pace") {
        pace::run();
    }
    if wanted("large") {
        large::run();
    }
}
