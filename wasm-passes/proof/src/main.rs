//! A pass on this machine itself, as a limit for the same pass as WASM: `native PASS SECONDS < QUESTION` asks it again
//! and again for so long, three times at the least, and prints the seconds of each answer as a JSON list.

use proof::PASSES;
use std::io::Read;
use std::time::{Duration, Instant};

fn main() -> Result<(), String> {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let seconds = words.next().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let (_, pass) = PASSES.into_iter().find(|(known, _)| *known == name).ok_or("native PASS SECONDS < QUESTION")?;
    let mut question = Vec::new();
    std::io::stdin().read_to_end(&mut question).map_err(|error| error.to_string())?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || begun.elapsed() < Duration::from_secs_f64(seconds) {
        let asked = Instant::now();
        let answer = apex_pass::abi::call(&question, pass);
        times.push(asked.elapsed().as_secs_f64());
        if answer.starts_with(b"{\"error\"") {
            return Err(String::from_utf8_lossy(&answer).into_owned());
        }
    }
    println!("{}", serde_json::json!(times));
    Ok(())
}
