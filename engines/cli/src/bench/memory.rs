//! How much memory this process holds, as Linux tells it.

/// Memory of this process, MiB; nothing where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Memory {
    /// Resident now.
    pub resident_mib: Option<f64>,
    /// The most that was ever resident.
    pub peak_mib: Option<f64>,
}

impl Memory {
    /// At this moment.
    pub fn now() -> Self {
        Self::of(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn of(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib / 1024.0)
        };
        Self { resident_mib: field("VmRSS:"), peak_mib: field("VmHWM:") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_linux_writes_it() {
        let memory = Memory::of("Name:\tpixio\nVmHWM:\t   10240 kB\nVmRSS:\t    5120 kB\nThreads:\t3\n");
        assert_eq!(memory, Memory { resident_mib: Some(5.0), peak_mib: Some(10.0) });
        assert_eq!(Memory::of("VmRSS:\tmany kB"), Memory::default());
        assert!(Memory::now().resident_mib.is_none_or(|mib| mib > 1.0));
    }
}
