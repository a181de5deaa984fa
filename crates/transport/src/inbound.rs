//! Sessions of clients that hand us mail.
