//! How host and guest meet: the ABI of `docs/formats/optimizer.md`.
//!
//! A module exports its memory, `apex_pass_abi() -> i32` (1), `allocate(bytes: i32) -> i32` and
//! `run(at: i32, bytes: i32) -> i64`. The host writes the input document to what `allocate` gave and calls `run`
//! once; the high half of the answer is where the output document stands, the low half how long it is. An
//! instance lives for one call, so nothing is ever given back.

use crate::{Input, Patch};
use serde_json::{Value, json};

/// The version of the ABI.
pub const ABI: i32 = 1;

/// Runs a pass on an input document; an output document: `{"patch": …}`, `{"patch": null}` or `{"error": …}`.
pub fn call(input: &[u8], pass: impl FnOnce(&Input) -> Option<Patch>) -> Vec<u8> {
    let answer = match serde_json::from_slice::<Input>(input) {
        Ok(input) => json!({ "patch": pass(&input) }),
        Err(error) => json!({"error": format!("the input cannot be read: {error}")}),
    };
    let answer: Value = answer;
    answer.to_string().into_bytes()
}

/// Makes the exports of a WASM module of a pass: `apex_pass::export!(pass);` with `fn pass(&Input) -> Option<Patch>`.
#[macro_export]
macro_rules! export {
    ($pass:path) => {
        #[cfg(target_family = "wasm")]
        mod exports {
            #[unsafe(no_mangle)]
            extern "C" fn apex_pass_abi() -> i32 {
                $crate::abi::ABI
            }

            #[unsafe(no_mangle)]
            extern "C" fn allocate(bytes: i32) -> i32 {
                Box::leak(vec![0_u8; bytes as usize].into_boxed_slice()).as_mut_ptr() as i32
            }

            #[unsafe(no_mangle)]
            extern "C" fn run(at: i32, bytes: i32) -> i64 {
                // The host wrote the document to what `allocate` gave for it.
                let input = unsafe { core::slice::from_raw_parts(at as *const u8, bytes as usize) };
                let output = Box::leak($crate::abi::call(input, $pass).into_boxed_slice());
                (i64::from(output.as_ptr() as i32) << 32) | output.len() as i64
            }
        }
    };
}
