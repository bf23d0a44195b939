//! gRPC: status codes and own unary framing.

use std::fmt;

/// A gRPC status code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

impl Code {
    /// `OK`.
    pub const OK: Code = Code(0);
    /// `CANCELLED`.
    pub const CANCELLED: Code = Code(1);
    /// `UNKNOWN`.
    pub const UNKNOWN: Code = Code(2);
    /// `INVALID_ARGUMENT`.
    pub const INVALID_ARGUMENT: Code = Code(3);
    /// `DEADLINE_EXCEEDED`.
    pub const DEADLINE_EXCEEDED: Code = Code(4);
    /// `NOT_FOUND`.
    pub const NOT_FOUND: Code = Code(5);
    /// `PERMISSION_DENIED`.
    pub const PERMISSION_DENIED: Code = Code(7);
    /// `RESOURCE_EXHAUSTED`.
    pub const RESOURCE_EXHAUSTED: Code = Code(8);
    /// `ABORTED`.
    pub const ABORTED: Code = Code(10);
    /// `OUT_OF_RANGE`.
    pub const OUT_OF_RANGE: Code = Code(11);
    /// `UNIMPLEMENTED`.
    pub const UNIMPLEMENTED: Code = Code(12);
    /// `INTERNAL`.
    pub const INTERNAL: Code = Code(13);
    /// `UNAVAILABLE`.
    pub const UNAVAILABLE: Code = Code(14);
    /// `DATA_LOSS`.
    pub const DATA_LOSS: Code = Code(15);
    /// `UNAUTHENTICATED`.
    pub const UNAUTHENTICATED: Code = Code(16);

    /// `INVALID_ARGUMENT`, ...; `UNKNOWN` for numbers beyond the standard ones.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        NAMES.get(self.0 as usize).copied().unwrap_or("UNKNOWN")
    }

    /// OTLP's list: an answer that a client may retry. `RESOURCE_EXHAUSTED` only with a hint when.
    pub fn is_retryable(self, hint: bool) -> bool {
        match self {
            Code::CANCELLED
            | Code::DEADLINE_EXCEEDED
            | Code::ABORTED
            | Code::OUT_OF_RANGE
            | Code::UNAVAILABLE
            | Code::DATA_LOSS => true,
            Code::RESOURCE_EXHAUSTED => hint,
            _ => false,
        }
    }

    /// The HTTP status that says the same to an OTLP/HTTP client.
    pub fn http_status(self) -> u16 {
        match self {
            Code::OK => 200,
            Code::CANCELLED
            | Code::DEADLINE_EXCEEDED
            | Code::ABORTED
            | Code::OUT_OF_RANGE
            | Code::UNAVAILABLE
            | Code::DATA_LOSS => 503,
            Code::RESOURCE_EXHAUSTED => 429,
            Code::INVALID_ARGUMENT => 400,
            Code::UNAUTHENTICATED => 401,
            Code::PERMISSION_DENIED => 403,
            Code::UNIMPLEMENTED => 404,
            _ => 500,
        }
    }

    /// The code that says the same as an HTTP status.
    pub fn from_http(status: u16) -> Code {
        match status {
            200..=299 => Code::OK,
            400 => Code::INVALID_ARGUMENT,
            401 => Code::UNAUTHENTICATED,
            403 => Code::PERMISSION_DENIED,
            404 => Code::UNIMPLEMENTED,
            429 => Code::RESOURCE_EXHAUSTED,
            502..=504 => Code::UNAVAILABLE,
            _ => Code::UNKNOWN,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
