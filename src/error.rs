//! The one error type. A kind is a stable code that JavaScript sees as `error.code`; a place names the file and tensor.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. `code` is public API: add, never rename. `www/engine/errors.js` adds the codes that only the
/// browser can meet (network, storage).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The checkpoint is of an architecture that is not a Phi.
    NotAPhi,
    /// Recognised, but not supported: a Phi variant, a dtype, a combination of options.
    Unsupported,
    /// A file that the checkpoint needs is not there.
    MissingFile,
    /// A tensor that the model needs is not there.
    MissingTensor,
    /// config.json, tokenizer.json or the index cannot be understood.
    BadConfig,
    /// A safetensors or GGUF header breaks its format: overlaps, wrong counts, offsets past the end, gigantic lengths.
    BadHeader,
    /// A file ends before what its header promises.
    Truncated,
    /// A tensor's shape is not what the configuration implies.
    BadShape,
    /// NaN or infinity among the weights.
    NotFinite,
    /// No scheme, format, backend or option of that name, or a value out of its range.
    BadOption,
    /// The type asks for an importance matrix, and there is none for it.
    NeedsImportance,
    /// The importance matrix is of another model: names or sizes do not fit.
    WrongImportance,
    /// No mix is as small as that.
    TargetTooSmall,
    /// A pickle that would run code.
    UnsafePickle,
    /// The prompt and the answer do not fit the context.
    ContextFull,
    /// An allocation failed.
    OutOfMemory,
    /// There is no usable GPU adapter.
    NoDevice,
    /// The GPU device was lost.
    DeviceLost,
    /// The GPU's result differs from the CPU's.
    DeviceMismatch,
    /// The operating system refused to read or write (terminal only).
    Io,
    /// The work was cancelled.
    Aborted,
    /// A fault of phiquant itself.
    Internal,
}

impl ErrorKind {
    /// The stable code: kebab-case of the kind's name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAPhi => "not-a-phi",
            Self::Unsupported => "unsupported",
            Self::MissingFile => "missing-file",
            Self::MissingTensor => "missing-tensor",
            Self::BadConfig => "bad-config",
            Self::BadHeader => "bad-header",
            Self::Truncated => "truncated",
            Self::BadShape => "bad-shape",
            Self::NotFinite => "not-finite",
            Self::BadOption => "bad-option",
            Self::NeedsImportance => "needs-importance",
            Self::WrongImportance => "wrong-importance",
            Self::TargetTooSmall => "target-too-small",
            Self::UnsafePickle => "unsafe-pickle",
            Self::ContextFull => "context-full",
            Self::OutOfMemory => "out-of-memory",
            Self::NoDevice => "no-device",
            Self::DeviceLost => "device-lost",
            Self::DeviceMismatch => "device-mismatch",
            Self::Io => "io",
            Self::Aborted => "aborted",
            Self::Internal => "internal",
        }
    }
}

/// What went wrong, where, and a sentence that tells a person what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
    pub file: Option<String>,
    pub tensor: Option<String>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), file: None, tensor: None }
    }

    /// Names the file, unless a place nearer to the fault has named one.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file.get_or_insert_with(|| file.into());
        self
    }

    /// Names the tensor, unless a place nearer to the fault has named one.
    #[must_use]
    pub fn in_tensor(mut self, tensor: impl Into<String>) -> Self {
        self.tensor.get_or_insert_with(|| tensor.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (&self.file, &self.tensor) {
            (Some(file), Some(tensor)) => write!(f, " ({file}, tensor {tensor})"),
            (Some(file), None) => write!(f, " ({file})"),
            (None, Some(tensor)) => write!(f, " (tensor {tensor})"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// `bail!(BadHeader, "…")`: return an [`Error`] of that kind.
#[macro_export]
macro_rules! bail {
    ($kind:ident, $($arg:tt)+) => {
        return Err($crate::error::Error::new($crate::error::ErrorKind::$kind, format!($($arg)+)))
    };
}
