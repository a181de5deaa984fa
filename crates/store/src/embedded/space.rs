//! Space: how much room has the device of a folder?
#![expect(unsafe_code, reason = "statvfs has no safe face in std; proof beside the call")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes that we may still write, and bytes in all, on the device of `folder`.
pub(crate) fn of(folder: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a NUL-terminated string that outlives the call; `stat` is valid for writes of its type.
    let code = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statvfs returned 0, so it has filled `stat`.
    let stat = unsafe { stat.assume_init() };
    let unit = stat.f_frsize;
    Ok((stat.f_bavail.saturating_mul(unit), stat.f_blocks.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_root_has_a_size() {
        let (free, all) = super::of(std::path::Path::new("/")).unwrap();
        assert!(all > 0 && free <= all);
        assert!(super::of(std::path::Path::new("/nowhere/at/all")).is_err());
    }
}
