//! What is off costs nothing: no allocation, whatever is begun, said and ended.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ultrasimple_trace::catalogue::{BACKUP, CAPTURE, COMMIT, CYCLE, EXPOSURE, FILE_PATH, PUT};
use ultrasimple_trace::{Tracer, child, context, here};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: it does what the system's allocator does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn upload(tracer: &Tracer) {
    let cycle = tracer.begin(&CYCLE);
    let mut backup = cycle.here().child(&BACKUP);
    backup.say(&FILE_PATH, &"/data/a.db");
    backup.set(&EXPOSURE, 3u64);
    let mut work = pin!(backup.within(async {
        let here = here();
        here.enter(|| drop(child(&CAPTURE)));
        let mut put = child(&PUT);
        put.object("s3://bucket", &"key");
        put.fail("denied", &"no");
        context()
    }));
    let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Ready(None));
    drop(backup.here().child(&COMMIT));
}

#[test]
fn nothing_is_allocated_for_spans_that_are_off() {
    let tracer = Tracer::off();
    // What the thread and the runtime make once.
    upload(&tracer);
    let before = ALLOCATIONS.get();
    drop(Box::new(before));
    assert_eq!(ALLOCATIONS.get(), before + 1, "it counts");
    (0..1_000).for_each(|_| upload(&tracer));
    assert_eq!(ALLOCATIONS.get(), before + 1);
}
