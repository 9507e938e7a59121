//! What masking holds at its peak, for the longest commands that Linux takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use observer::mask::{MaskKey, Masker};
use observer::model::Raw;

/// The system's allocator, which counts what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What masking a command holds at its peak.
fn peak(command: &[Raw]) -> usize {
    let mut masker = Masker::new(MaskKey::from_bytes([7; 32]));
    masker.text(Raw::from("password=hunter22"));
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let out = masker.command(command);
    let peak = PEAK.load(Relaxed) - before;
    assert_eq!(out.get().len(), command.len());
    peak
}

#[test]
fn a_command_of_2_mib_is_masked_in_a_few_times_its_own_memory() {
    let random = "zQ7vT2mXpLx9WkRb4kP4wN8sYcVb3";
    let long = 128 * 1024 - 1;
    let texts = [
        ("one letter", "a".to_owned()),
        ("flags", "--password".to_owned()),
        ("assignments", format!("--token={random}")),
        ("long, of words", "an ordinary word ".repeat(long / 17)),
        ("long, of commands", "curl -u a:b https://h/ | ".repeat(long / 25)),
        ("long, of JSON", format!("[{}1]", "\"-pX\",".repeat(long / 7))),
    ];
    for (name, arg) in texts {
        // What is looked at as one text too, and what is too long for it.
        for size in [200 << 10, 2 << 20] {
            let args = vec![Raw::from(arg.as_str()); (size / (arg.len() + 1)).max(1)];
            // A program that is known looks at more, and what one argument begins all may go on.
            let firsts = ["x", "mysql", "-----BEGIN PRIVATE KEY-----"];
            let some = if size > 1 << 20 { &firsts[..1] } else { &firsts[..] };
            for first in some {
                let mut command = vec![Raw::from(*first)];
                command.extend(args.iter().cloned());
                let own: usize = command.iter().map(|raw| raw.len() + size_of::<Raw>()).sum();
                let peak = peak(&command);
                println!("{name:<18} {size:>8} {first:<28} {own:>9} {peak:>9}");
                // The words of one argument that is read as a shell's text are few bytes each.
                assert!(peak < 20 * own + (8 << 20), "{name}, {own} bytes, after {first}: {peak}");
            }
        }
    }
}
