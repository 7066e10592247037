//! What launchers of processes say in the environment.
//!
//! | launcher | number of the process, and of all |
//! | --- | --- |
//! | `torchrun --no-python`, and whatever sets the same | `RANK`, `WORLD_SIZE` |
//! | `mpirun` of Open MPI | `OMPI_COMM_WORLD_RANK`, `OMPI_COMM_WORLD_SIZE` |
//! | `mpirun` of MPICH and Intel MPI | `PMI_RANK`, `PMI_SIZE` |
//! | `srun` of Slurm | `SLURM_PROCID`, `SLURM_STEP_NUM_TASKS` |
//!
//! Where worker 0 listens is in `MASTER_ADDR` and `MASTER_PORT`, for all launchers. On one machine neither is
//! needed: the address is that of the machine itself, and the port follows from the number of the launcher's process.

/// A process that a launcher has started as one of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Its number.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// How many of them are on this machine.
    pub local: usize,
    /// Where worker 0 listens.
    pub address: String,
}

/// The variables of launchers: the number of a process, of all, and whether all are on this machine.
const LAUNCHERS: [[&str; 3]; 4] = [
    ["RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"],
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"],
    ["PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"],
    ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"],
];

/// How this process was started; none where it is not one of several.
///
/// # Errors
/// Where processes are on several machines, and nothing says where worker 0 is.
pub fn launched() -> Result<Option<Launched>, String> {
    launched_as(&|name| std::env::var(name).ok(), parent())
}

/// The number of the process that started this one.
fn parent() -> u32 {
    #[cfg(unix)]
    return std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    0
}

fn launched_as(
    variable: &dyn Fn(&str) -> Option<String>,
    parent: u32,
) -> Result<Option<Launched>, String> {
    let number = |name: &str| variable(name)?.parse::<usize>().ok();
    let is_there = |name: &str| variable(name).is_some();
    // Half of the general names is a mistake; the others mean something only together.
    let named = LAUNCHERS.iter().find(|[rank, size, _]| match *rank {
        "RANK" => is_there(rank) || is_there(size),
        _ => is_there(rank) && is_there(size),
    });
    let Some([name, of, local]) = named.copied() else { return Ok(None) };
    let (rank, size) = match (number(name), number(of)) {
        (Some(0), Some(1)) => return Ok(None),
        (Some(rank), Some(size)) if rank < size => (rank, size),
        _ => {
            let shown = |name: &str| match variable(name) {
                Some(value) => format!("{name}={value}"),
                None => format!("no {name}"),
            };
            return Err(format!(
                "the environment has {} and {}, which is no number of a process from 0 and how many there are; \
                 unset them, or give --workers 1 to train alone",
                shown(name),
                shown(of)
            ));
        }
    };
    let host = variable("MASTER_ADDR");
    // Slurm says how many machines there are, the others how many processes are on this one.
    let all = if local == "SLURM_STEP_NUM_NODES" { 1 } else { size };
    let here = number(local).is_none_or(|local| local == all);
    if host.is_none() && !here {
        return Err(format!(
            "{name} says that this is process {rank} of {size} on several machines: set MASTER_ADDR (and \
             MASTER_PORT) to the machine of process 0, where it listens"
        ));
    }
    let port = match (variable("MASTER_PORT"), variable("TORCHELASTIC_USE_AGENT_STORE")) {
        // torchrun itself listens at this port then.
        (Some(port), Some(agent)) if agent == "True" => {
            port.parse::<u16>().ok().and_then(|port| port.checked_add(1))
        }
        (Some(port), _) => port.parse().ok(),
        (None, _) => Some(20_000 + (parent % 10_000) as u16),
    };
    let port = port.ok_or_else(|| "MASTER_PORT is no port".to_owned())?;
    let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
    let local = match (number(local), local) {
        (None, _) => size,
        (Some(nodes), "SLURM_STEP_NUM_NODES") => size.div_ceil(nodes.max(1)),
        (Some(local), _) => local.clamp(1, size),
    };
    Ok(Some(Launched { rank, size, local, address: format!("{host}:{port}") }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Launched>, String> {
        let find = |name: &str| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned());
        launched_as(&find, 12_345)
    }

    #[test]
    fn what_launchers_say() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(None));
        for (rank, size) in [("2", "2"), ("-1", "2"), ("x", "2"), ("0", "0")] {
            let said = of(&[("PMI_RANK", rank), ("PMI_SIZE", size)]).unwrap_err();
            assert!(said.contains(&format!("PMI_RANK={rank} and PMI_SIZE={size}")), "{said}");
        }
        assert!(of(&[("RANK", "0")]).unwrap_err().contains("RANK=0 and no WORLD_SIZE"));
        assert!(of(&[("WORLD_SIZE", "2")]).unwrap_err().contains("no RANK and WORLD_SIZE=2"));
        let found = |rank, size, local, address: &str| {
            Ok(Some(Launched { rank, size, local, address: address.to_owned() }))
        };
        let torchrun = [
            ("RANK", "1"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "node0"),
            ("MASTER_PORT", "29500"),
        ];
        assert_eq!(of(&torchrun), found(1, 4, 2, "node0:29500"));
        let agent = [&torchrun[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True")]].concat();
        assert_eq!(of(&agent), found(1, 4, 2, "node0:29501"));
        assert_eq!(of(&[("PMI_RANK", "2"), ("PMI_SIZE", "3")]), found(2, 3, 3, "127.0.0.1:22345"));
        let slurm = |nodes| {
            let names = ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"];
            of(&names.into_iter().zip(["1", "4", nodes]).collect::<Vec<_>>())
        };
        assert_eq!(slurm("1"), found(1, 4, 4, "127.0.0.1:22345"));
        assert!(slurm("2").unwrap_err().contains("MASTER_ADDR"));
        let open = [
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ];
        assert!(of(&open).unwrap_err().contains("MASTER_ADDR"));
    }
}
