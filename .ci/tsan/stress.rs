//! The thread pool under stress. Without the harness of tests, whose channel ThreadSanitizer takes for
//! racy, since the standard library is not built with it.
#![allow(dead_code)]

#[path = "../../crates/cpu/src/threads.rs"]
mod threads;

#[cfg(test)]
fn main() {
    // No panic of a test is caught by a harness; those that the test makes do not come by here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::exit(1);
    }));
    const ROUNDS: usize = 600;
    threads::tests::stress(ROUNDS);
    println!("the thread pool stood {ROUNDS} rounds");
    std::process::exit(0);
}
