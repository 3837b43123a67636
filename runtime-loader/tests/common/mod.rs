//! What the kernel tests share.

/// Whether a kernel test can run. Without privileges it is skipped with a message, except in
/// continuous integration, where a skipped test would pass for a green one.
pub(crate) fn privileged() -> bool {
    if polc_runtime_loader::lab::running_as_root() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "kernel tests need root in continuous integration"
    );
    eprintln!("SKIPPED: kernel tests need root");
    false
}
