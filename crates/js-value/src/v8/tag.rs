//! The bytes that begin each thing in the format.

pub(super) const VERSION: u8 = 0xff;
pub(super) const PADDING: u8 = 0;
pub(super) const OBJECT_COUNT: u8 = b'?';
pub(super) const HOLE: u8 = b'-';
pub(super) const UNDEFINED: u8 = b'_';
pub(super) const NULL: u8 = b'0';
pub(super) const TRUE: u8 = b'T';
pub(super) const FALSE: u8 = b'F';
/// 32 bits, zigzag varint.
pub(super) const INT32: u8 = b'I';
pub(super) const UINT32: u8 = b'U';
pub(super) const DOUBLE: u8 = b'N';
pub(super) const BIGINT: u8 = b'Z';
pub(super) const UTF8_STRING: u8 = b'S';
/// Latin-1.
pub(super) const ONE_BYTE_STRING: u8 = b'"';
/// UTF-16, little endian; the text begins at an even offset.
pub(super) const TWO_BYTE_STRING: u8 = b'c';
pub(super) const REFERENCE: u8 = b'^';
pub(super) const OBJECT: u8 = b'o';
pub(super) const OBJECT_END: u8 = b'{';
pub(super) const SPARSE_ARRAY: u8 = b'a';
pub(super) const SPARSE_ARRAY_END: u8 = b'@';
pub(super) const DENSE_ARRAY: u8 = b'A';
pub(super) const DENSE_ARRAY_END: u8 = b'$';
pub(super) const DATE: u8 = b'D';
pub(super) const TRUE_OBJECT: u8 = b'y';
pub(super) const FALSE_OBJECT: u8 = b'x';
pub(super) const NUMBER_OBJECT: u8 = b'n';
pub(super) const BIGINT_OBJECT: u8 = b'z';
pub(super) const STRING_OBJECT: u8 = b's';
pub(super) const REGEXP: u8 = b'R';
pub(super) const MAP: u8 = b';';
pub(super) const MAP_END: u8 = b':';
pub(super) const SET: u8 = b'\'';
pub(super) const SET_END: u8 = b',';
pub(super) const ARRAY_BUFFER: u8 = b'B';
pub(super) const RESIZABLE_ARRAY_BUFFER: u8 = b'~';
/// Follows the buffer that it looks at, or a reference to it.
pub(super) const VIEW: u8 = b'V';
pub(super) const ERROR: u8 = b'r';
pub(super) const HOST_OBJECT: u8 = b'\\';

/// Tags that are known and refused, with what they stand for.
pub(super) const REFUSED: [(u8, &str); 5] = [
    (b'u', "SharedArrayBuffer"),
    (b't', "transferred ArrayBuffer"),
    (b'w', "WebAssembly.Module"),
    (b'm', "WebAssembly.Memory"),
    (b'p', "shared object"),
];

/// Inside an error of the plain form.
pub(super) mod error {
    pub(in super::super) const MESSAGE: u8 = b'm';
    pub(in super::super) const CAUSE: u8 = b'c';
    pub(in super::super) const STACK: u8 = b's';
    pub(in super::super) const END: u8 = b'.';
    /// Errors of a class other than `Error` begin with one of these.
    pub(in super::super) const CLASSES: [(u8, &str); 6] = [
        (b'E', "EvalError"),
        (b'R', "RangeError"),
        (b'F', "ReferenceError"),
        (b'S', "SyntaxError"),
        (b'T', "TypeError"),
        (b'U', "URIError"),
    ];
}

/// workerd's host objects: the number after [`HOST_OBJECT`].
pub(super) mod host {
    pub(in super::super) const STUB: u32 = 1;
    pub(in super::super) const WRITABLE_STREAM: u32 = 2;
    pub(in super::super) const READABLE_STREAM: u32 = 3;
    /// Guard, count, and for each the number of its name, or 0 and the name, and the value.
    pub(in super::super) const HEADERS: u32 = 4;
    /// The URL, and the object that it is made from.
    pub(in super::super) const REQUEST: u32 = 5;
    /// The body, and the object that it is made from.
    pub(in super::super) const RESPONSE: u32 = 6;
    /// Name, message and stack, each a length and UTF-8.
    pub(in super::super) const DOM_EXCEPTION: u32 = 8;
    pub(in super::super) const ERROR: u32 = 10;
    /// The media type, a length and the bytes.
    pub(in super::super) const BLOB: u32 = 15;

    /// Host objects by number, those that are refused among them (workerd's `enum SerializationTag`).
    pub(in super::super) const NAMES: [&str; 18] = [
        "invalid",
        "RpcStub",
        "WritableStream",
        "ReadableStream",
        "Headers",
        "Request",
        "Response",
        "DOMException",
        "DOMException",
        "AbortSignal",
        "Error",
        "service stub (Fetcher)",
        "DurableObjectClass",
        "R2Bucket",
        "KvNamespace",
        "Blob",
        "Socket",
        "wrapped binding",
    ];

    /// The class number of an error whose name is written out.
    pub(in super::super) const OTHER_CLASS: u32 = 0;

    /// JavaScript's name for each class number of a native error. workerd writes the four of
    /// WebAssembly by name, since they are called differently in its table.
    pub(in super::super) const CLASSES: [(u32, &str); 13] = [
        (1, "Error"),
        (2, "TypeError"),
        (3, "RangeError"),
        (4, "ReferenceError"),
        (5, "SyntaxError"),
        (6, "CompileError"),
        (7, "LinkError"),
        (8, "RuntimeError"),
        (9, "SuspendError"),
        (10, "EvalError"),
        (11, "URIError"),
        (12, "AggregateError"),
        (13, "SuppressedError"),
    ];
    pub(in super::super) const WASM_CLASSES: std::ops::RangeInclusive<u32> = 6..=9;
}
