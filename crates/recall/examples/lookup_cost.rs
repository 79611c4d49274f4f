//! What a look-up costs: prints microseconds for reading a goal, and for reading and matching it, in a catalogue of
//! the given number of phrasings (default 100,000). `cargo run --release -p apex-recall --example lookup_cost`.

use std::hint::black_box;
use std::time::Instant;

use apex_recall::{Catalogue, Recognizer};

const GOALS: [&str; 4] = [
    "Book flight to Paris tomorrow and send confirmation to john@example.com",
    "Book flight to bechtelsville march 2nd and send confirmation to x.y@example.org",
    "remind anna about \"the quarterly report\" on friday at half past 4 in the afternoon",
    "what is the meaning of life and everything else that people ask about on a rainy day",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let size: u32 = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse())?;
    let started = Instant::now();
    let recognizer = Recognizer::new();
    println!("recognizer built in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let mut catalogue = Catalogue::new();
    let mut add = |id, phrasing: &str| catalogue.add(&recognizer, id, &[phrasing]).map_err(|(_, error)| error);
    add(0, "Book flight to {LOCATION} {DATE} and send confirmation to {EMAIL}")?;
    add(1, "Remind {PERSON} about {QUOTED} on {DATE} at {TIME}")?;
    let started = Instant::now();
    for id in 2..size {
        add(id, &format!("Book flight to {{LOCATION}} {{DATE}} and send report{id} to {{EMAIL}}"))?;
    }
    println!("{size} phrasings added in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    for goal in GOALS {
        let read = median_us(|| {
            black_box(recognizer.read(black_box(goal)));
        });
        let find = median_us(|| {
            black_box(catalogue.find(&recognizer, &recognizer.read(black_box(goal))));
        });
        let tier = catalogue.find(&recognizer, &recognizer.read(goal)).map(|found| found.tier);
        println!("read {read:6.2} us   read and find {find:8.2} us   {tier:?}   {goal}");
    }
    Ok(())
}

/// The median of 21 rounds of 200 calls.
fn median_us(mut call: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..21)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..200 {
                call();
            }
            started.elapsed().as_secs_f64() * 1e6 / 200.0
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[10]
}
