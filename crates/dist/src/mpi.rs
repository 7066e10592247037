//! A group of processes that a launcher of MPI has started.
//!
//! The library is opened at run time, by the standard ABI of MPI 5 (`libmpi_abi.so`, which MPICH 5 has and Open MPI
//! 6 will have): nothing of MPI is needed to build. Handles are the fixed values of that ABI (MPI 5.0, appendix A; `mpi_abi.h`).
//!
//! MPI ends all processes when one dies, so that a run over MPI ends with the first worker that is lost, where one over TCP continues.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

use libloading::Library;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::group::{Group, Message};

use crate::frame::{self, Frame};

/// A handle of the ABI: a pointer that points to nothing where it is one of the fixed ones.
type Handle = *mut c_void;
/// `MPI_Count`
type Count = i64;

/// `MPI_Status`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Status {
    source: c_int,
    tag: c_int,
    error: c_int,
    internal: [c_int; 5],
}

const COMM_WORLD: usize = 0x101;
const ERRORS_RETURN: usize = 0x143;
const MESSAGE_NULL: usize = 0x128;
const FLOAT: usize = 0x210;
const BYTE: usize = 0x247;
const SUCCESS: c_int = 0;
/// All calls come from one thread.
const THREAD_FUNNELED: c_int = 1024;
const MAX_ERROR_STRING: usize = 512;

/// The kind, step and so on of a message, with its text.
const HEAD: c_int = 1;
/// Its values.
const VALUES: c_int = 2;

/// Names of the library, where `TIDEMILL_MPI` names none.
const NAMES: [&str; 3] = ["libmpi_abi.so.1", "libmpi_abi.so", "libmpi_abi.dylib"];

macro_rules! functions {
    ($($field:ident: $name:literal ($($of:ty),*),)*) => {
        /// The functions that are used.
        struct Functions {
            $($field: unsafe extern "C" fn($($of),*) -> c_int,)*
        }

        impl Functions {
            fn of(library: &Library) -> std::result::Result<Functions, libloading::Error> {
                // SAFETY: these are the functions of the standard ABI, with the types that its header gives
                // them. The pointers live as long as the library, which `Mpi` keeps.
                unsafe { Ok(Functions { $($field: *library.get(concat!($name, "\0").as_bytes())?,)* }) }
            }
        }
    };
}

functions! {
    init: "MPI_Init_thread" (*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int),
    finalize: "MPI_Finalize" (),
    set_errors: "MPI_Comm_set_errhandler" (Handle, Handle),
    rank: "MPI_Comm_rank" (Handle, *mut c_int),
    size: "MPI_Comm_size" (Handle, *mut c_int),
    send: "MPI_Isend_c" (*const c_void, Count, Handle, c_int, c_int, Handle, *mut Handle),
    probe: "MPI_Improbe" (c_int, c_int, Handle, *mut c_int, *mut Handle, *mut Status),
    count: "MPI_Get_count_c" (*const Status, Handle, *mut Count),
    receive: "MPI_Mrecv_c" (*mut c_void, Count, Handle, *mut Handle, *mut Status),
    test: "MPI_Test" (*mut Handle, *mut c_int, *mut Status),
    error: "MPI_Error_string" (c_int, *mut c_char, *mut c_int),
}

/// A worker of such a group. There can be one in a process.
pub struct Mpi {
    functions: Functions,
    rank: usize,
    size: usize,
    /// What is being sent: the request, and the memory that it reads.
    sending: VecDeque<Sending>,
    /// Keeps the functions.
    _library: Library,
}

struct Sending {
    request: Handle,
    _head: Vec<u8>,
    _values: Vec<f32>,
}

// SAFETY: handles are values that any thread may hold; all calls are made through `&mut Mpi`, so by one
// thread at a time, and the library was initialized by the one that keeps it.
#[allow(unsafe_code)]
unsafe impl Send for Mpi {}

impl Mpi {
    /// Initializes MPI, by the library that `TIDEMILL_MPI` names or the first one that is found.
    ///
    /// # Errors
    /// If there is none, or it does not start.
    pub fn start() -> Result<Mpi> {
        let given = std::env::var("TIDEMILL_MPI").ok();
        let names: Vec<&str> = given.as_deref().map_or(NAMES.to_vec(), |name| vec![name]);
        let mut why = String::new();
        for name in names {
            // SAFETY: initializers of the library run, as in any program that is linked with it; MPI's
            // standard ABI asks nothing of the program before `MPI_Init_thread`.
            match unsafe { Library::new(name) } {
                Ok(library) => return Mpi::of(library),
                Err(e) => why = std::error::Error::source(&e).unwrap_or(&e).to_string(),
            }
        }
        Err(Error::Usage(format!(
            "no MPI library with the standard ABI (libmpi_abi.so of MPICH 5 or newer) can be opened: {why}; \
             help: TIDEMILL_MPI=/path/to/libmpi_abi.so.1 names one; without --transport mpi the workers use TCP, also \
             under mpirun"
        )))
    }

    fn of(library: Library) -> Result<Mpi> {
        let failed =
            |e: libloading::Error| Error::Usage(format!("the MPI library lacks a function: {e}"));
        let functions = Functions::of(&library).map_err(failed)?;
        let (mut provided, mut rank, mut size) = (0, 0, 0);
        // SAFETY: null arguments are allowed; the others are places of the right types.
        let codes = unsafe {
            [
                (functions.init)(null_mut(), null_mut(), THREAD_FUNNELED, &mut provided),
                (functions.set_errors)(COMM_WORLD as Handle, ERRORS_RETURN as Handle),
                (functions.rank)(COMM_WORLD as Handle, &mut rank),
                (functions.size)(COMM_WORLD as Handle, &mut size),
            ]
        };
        let (rank, size) = (rank as usize, size as usize);
        let mpi = Mpi { functions, rank, size, sending: VecDeque::new(), _library: library };
        codes.into_iter().try_for_each(|code| mpi.check(code, "MPI cannot start"))?;
        Ok(mpi)
    }

    /// The error that a code stands for.
    fn check(&self, code: c_int, what: &str) -> Result<()> {
        if code == SUCCESS {
            return Ok(());
        }
        let mut text = [0u8; MAX_ERROR_STRING];
        let mut len = 0;
        // SAFETY: the text has the room that the ABI asks for.
        unsafe { (self.functions.error)(code, text.as_mut_ptr().cast(), &mut len) };
        let text = String::from_utf8_lossy(&text[..(len.max(0) as usize).min(MAX_ERROR_STRING)]);
        Err(Error::Run(format!("{what}: {text}")))
    }

    /// Begins to send memory, which is kept until it is sent.
    fn begin(&mut self, to: usize, tag: c_int, head: Vec<u8>, values: Vec<f32>) -> Result<()> {
        let (data, len, of) = match tag {
            HEAD => (head.as_ptr().cast::<c_void>(), head.len(), BYTE),
            _ => (values.as_ptr().cast(), values.len(), FLOAT),
        };
        let mut request = null_mut();
        // SAFETY: `data` points to `len` elements of the type, in memory of a vector, which does not move with
        // the vector; `sending` keeps it until the request is done.
        let code = unsafe {
            let (of, world) = (of as Handle, COMM_WORLD as Handle);
            (self.functions.send)(data, len as Count, of, to as c_int, tag, world, &mut request)
        };
        self.sending.push_back(Sending { request, _head: head, _values: values });
        self.check(code, &format!("nothing can be sent to worker {to}"))
    }

    /// Forgets what is sent; says whether all is.
    fn sent(&mut self) -> Result<bool> {
        while let Some(first) = self.sending.front_mut() {
            let (mut done, mut status) = (0, Status::default());
            // SAFETY: the request is one that was begun and is not done.
            let code = unsafe { (self.functions.test)(&mut first.request, &mut done, &mut status) };
            self.check(code, "a message cannot be sent")?;
            if done == 0 {
                return Ok(false);
            }
            self.sending.pop_front();
        }
        Ok(true)
    }

    /// Waits for the next message with this tag; gives its length, and a handle of it.
    fn wait_for(&mut self, from: usize, tag: c_int, of: usize) -> Result<(usize, Handle)> {
        let mut pause = Pause::default();
        loop {
            let (mut found, mut status) = (0, Status::default());
            let mut message = MESSAGE_NULL as Handle;
            // SAFETY: all are places of the right types.
            let code = unsafe {
                let world = COMM_WORLD as Handle;
                (self.functions.probe)(
                    from as c_int,
                    tag,
                    world,
                    &mut found,
                    &mut message,
                    &mut status,
                )
            };
            self.check(code, &format!("nothing can be received from worker {from}"))?;
            if found != 0 {
                let mut len: Count = 0;
                // SAFETY: the status is that of the message.
                let code = unsafe { (self.functions.count)(&status, of as Handle, &mut len) };
                self.check(code, "the length of a message is not known")?;
                let len = usize::try_from(len);
                return Ok((
                    len.map_err(|_| Error::Run("a message has no length".into()))?,
                    message,
                ));
            }
            self.sent()?;
            pause.wait();
        }
    }

    /// Takes a message that was waited for into memory of its length.
    fn take(&mut self, to: *mut c_void, len: usize, of: usize, message: Handle) -> Result<()> {
        let (mut message, mut status) = (message, Status::default());
        // SAFETY: `to` has room for the `len` elements that the message has.
        let code = unsafe {
            (self.functions.receive)(to, len as Count, of as Handle, &mut message, &mut status)
        };
        self.check(code, "a message cannot be received")
    }
}

impl Group for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&mut self, to: usize, mut message: Message) -> Result<()> {
        let values = std::mem::take(&mut message.values);
        let mut head = (values.len() as u64).to_le_bytes().to_vec();
        frame::write(&mut head, 0, Some(&message)).map_err(|e| Error::Run(e.to_string()))?;
        self.begin(to, HEAD, head, Vec::new())?;
        if !values.is_empty() {
            self.begin(to, VALUES, Vec::new(), values)?;
        }
        self.sent().map(drop)
    }

    fn receive(&mut self, from: usize) -> Result<Message> {
        let (len, handle) = self.wait_for(from, HEAD, BYTE)?;
        let mut head = vec![0u8; len];
        self.take(head.as_mut_ptr().cast(), len, BYTE, handle)?;
        let wrong = |e: &dyn std::fmt::Display| Error::Run(format!("worker {from}: {e}"));
        let Some((values, mut rest)) = head.split_first_chunk() else {
            return Err(wrong(&"a message is too short"));
        };
        let Frame::Message(mut message) = frame::read(&mut rest, Some(0)).map_err(|e| wrong(&e))?
        else {
            return Err(wrong(&"a message says nothing"));
        };
        let values = u64::from_le_bytes(*values) as usize;
        if values > 0 {
            let (len, handle) = self.wait_for(from, VALUES, FLOAT)?;
            message.values = vec![0.0; len];
            self.take(message.values.as_mut_ptr().cast(), len, FLOAT, handle)?;
            if len != values {
                return Err(wrong(&format!("{len} values came, and {values} were expected")));
            }
        }
        Ok(message)
    }

    fn flush(&mut self) -> Result<()> {
        let mut pause = Pause::default();
        while !self.sent()? {
            pause.wait();
        }
        Ok(())
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        drop(self.flush());
        // SAFETY: it was initialized, and this is the last call.
        unsafe { (self.functions.finalize)() };
    }
}

/// Waits that get longer: MPI has no way to sleep until something comes.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn wait(&mut self) {
        self.0 += 1;
        match self.0 {
            0..2_000 => std::hint::spin_loop(),
            2_000..10_000 => std::thread::yield_now(),
            n => std::thread::sleep(Duration::from_micros(u64::from((n - 9_999).min(50)) * 20)),
        }
    }
}
