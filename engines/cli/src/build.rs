//! `pixio build`: a bundle's engines, into the cache.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use calibration::Size;
use network::{Bundle, Network};
use perception::Engine;
use perception::parity::{self, ParityReport};
use tensorrt::cache::{Acceptance, MeasuredOutput};
use tensorrt::{Certificate, Flavour, Library, Plans, Progress, Target, TensorRt, gate};

use crate::engine::{ReferenceArguments, TensorRtArguments, tell_notices};
use crate::{photographs, progress};

/// Build a bundle's TensorRT engines into the cache, check them against golden, and certify them
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// tensorrt (GPUs and Jetson) or tensorrt-rtx (RTX GPUs)
    #[arg(long, value_name = "tensorrt|tensorrt-rtx")]
    engine: Flavour,
    /// Build for GPUs of these compute capabilities instead of this machine's, for example 86,89,120 (tensorrt-rtx only, which
    /// knows no Jetson; needs no GPU, so nothing is checked against golden)
    #[arg(long, value_name = "SM,..", value_delimiter = ',')]
    target: Vec<i32>,
    /// Only this input size [default: all of the bundle's]
    #[arg(long, value_name = "WxH")]
    size: Vec<Size>,
    /// Accept a TensorRT version known to compute wrongly, for this bundle and machine, if all of at least 16 photographs agree
    /// with the reference engine
    #[arg(long, requires = "photographs", conflicts_with_all = ["target", "size"])]
    accept_known_bad: bool,
    /// Photographs (JPEG, PNG) or folders of them, for --accept-known-bad
    #[arg(long, value_name = "IMAGE", num_args = 1..)]
    photographs: Vec<PathBuf>,
    #[command(flatten)]
    tensorrt: TensorRtArguments,
    #[command(flatten)]
    reference: ReferenceArguments,
}

/// Builds what is not in the cache yet. Exit code 1 when an engine is out of tolerance, 130 when Ctrl-C stopped a build.
///
/// # Errors
/// When bundle or library is refused, or a network does not build.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let bundle = Bundle::open(&arguments.bundle)?;
    bundle.verify_weights()?;
    let sizes = arguments.sizes(&bundle.manifest().sizes)?;
    check_kept(&bundle, &sizes)?;
    if arguments.target.is_empty() {
        on_this_machine(arguments, &bundle, &sizes)
    } else {
        for_other_machines(arguments, &bundle, &sizes)
    }
}

impl Arguments {
    /// The sizes to build for: those asked for, of the bundle's, which alone have golden outputs.
    fn sizes(&self, of_bundle: &[Size]) -> Result<Vec<Size>> {
        if let Some(size) = self.size.iter().find(|size| !of_bundle.contains(size)) {
            let known = of_bundle.iter().map(Size::to_string).collect::<Vec<_>>().join(", ");
            bail!("--size {size}: expected one of the bundle's sizes, {known}");
        }
        Ok(if self.size.is_empty() { of_bundle.to_vec() } else { self.size.clone() })
    }
}

/// A pattern of the manifest that names nothing is a mistake.
fn check_kept(bundle: &Bundle, sizes: &[Size]) -> Result<()> {
    let Some(size) = sizes.first() else { return Ok(()) };
    let networks = networks(bundle, *size)?;
    let graphs: Vec<_> = networks.iter().map(Network::graph).collect();
    let unmatched = bundle.manifest().precision.unmatched(&graphs);
    if unmatched.is_empty() {
        return Ok(());
    }
    bail!("model.toml: precision: expected names of operations, but nothing is named by {unmatched:?}")
}

fn networks(bundle: &Bundle, size: Size) -> Result<Vec<Network>> {
    let heads = bundle.manifest().heads.keys().map(|name| bundle.head(name, size));
    let networks = std::iter::once(bundle.backbone(size)).chain(heads);
    Ok(networks.collect::<Result<_, _>>()?)
}

fn for_other_machines(arguments: &Arguments, bundle: &Bundle, sizes: &[Size]) -> Result<ExitCode> {
    if arguments.engine != Flavour::TensorRtRtx {
        bail!(
            "--target: only tensorrt-rtx builds for GPUs that are not there; on a Jetson, build on the Jetson"
        );
    }
    let options = arguments.tensorrt.options(arguments.engine, bundle)?;
    let library = Library::open(options.flavour, options.library.as_deref())?;
    warn_of_version(&library);
    let plans = Plans {
        library,
        cache: options.cache,
        target: Target::Capabilities(arguments.target.clone()),
        precision: options.precision,
        kept: options.kept,
        model: options.model,
    };
    let watch = progress::builds();
    for size in sizes {
        for network in networks(bundle, *size)? {
            let what = format!("{} {size}", network.name());
            let announce = |reason: &str| {
                let _ = watch(&format!("building {what}: {reason}"), None);
            };
            let heard = |progress: Progress<'_>| watch(&what, Some(progress));
            let found = plans.get(&network, &announce, &heard)?;
            print_engine(&plans, &network, &found.certificate, found.built_because.is_some());
        }
    }
    println!(
        "not checked against golden: that needs the GPU they are for (`pixio verify --engine tensorrt-rtx` there)"
    );
    Ok(ExitCode::SUCCESS)
}

fn warn_of_version(library: &Library) {
    if let gate::Verdict::Warn(reason) | gate::Verdict::KnownBad(reason) =
        gate::judge(library.flavour(), library.version())
    {
        eprintln!("{reason}");
    }
}

fn on_this_machine(arguments: &Arguments, bundle: &Bundle, sizes: &[Size]) -> Result<ExitCode> {
    let mut options = arguments.tensorrt.options(arguments.engine, bundle)?;
    options.is_on_trial = arguments.accept_known_bad;
    let mut engine = TensorRt::watched(options, progress::builds()).context("cannot start the engine")?;
    let identity = engine.identity();
    println!("{} {} on {}, {}", identity.flavour, identity.version, identity.device, identity.precision);
    let before = engine.plans().cache.certificates();
    let mut report = check_each(&mut engine, bundle, sizes)?;
    if !report.passed() && forget(&engine, &before)? {
        eprintln!("{report}\nengines that were in the cache are out of tolerance: building them again");
        report = check_each(&mut engine, bundle, sizes)?;
    }
    println!("{report}");
    if !report.passed() {
        println!("FAILED: the engines are in the cache, and no node will publish with them");
        return Ok(ExitCode::from(1));
    }
    if arguments.accept_known_bad {
        return accept(arguments, bundle, sizes, &mut engine);
    }
    println!("passed");
    Ok(ExitCode::SUCCESS)
}

/// Takes engines out of the cache that were there `before` and were loaded; whether there were any. A node may have built them from
/// weights that are not the manifest's, which it does not compare.
fn forget(engine: &TensorRt, before: &[Certificate]) -> Result<bool> {
    let was_there = |loaded: &&Certificate| {
        before.iter().any(|old| old.key == loaded.key && old.plan_sha256 == loaded.plan_sha256)
    };
    let old: Vec<_> = engine.certificates().iter().filter(was_there).collect();
    for certificate in &old {
        engine.plans().cache.remove(&certificate.key)?;
    }
    Ok(!old.is_empty())
}

/// Loads the networks of one size after the other, compares them with golden, and certifies each.
fn check_each(engine: &mut TensorRt, bundle: &Bundle, sizes: &[Size]) -> Result<ParityReport> {
    let mut whole: Option<ParityReport> = None;
    for size in sizes {
        let known = engine.certificates().len();
        let report = parity::check(engine, bundle, &[*size])?;
        tell_notices(engine);
        certify(engine, known, &report)?;
        match whole.as_mut() {
            Some(whole) => whole.differences.extend(report.differences),
            None => whole = Some(report),
        }
    }
    whole.context("the bundle has no size")
}

/// Writes what was measured of a size into the certificates of its engines: those that were loaded after the first `known`.
fn certify(engine: &TensorRt, known: usize, report: &ParityReport) -> Result<()> {
    for certificate in &engine.certificates()[known..] {
        let mut certificate = certificate.clone();
        let prefix = format!("{}/", certificate.key.network);
        let mut measured: Vec<MeasuredOutput> = Vec::new();
        for difference in report.differences.iter().filter(|d| d.output.starts_with(&prefix)) {
            let (relative, cosine) = (difference.relative, difference.cosine);
            match measured.iter_mut().find(|known| known.output == difference.output) {
                Some(known) => {
                    known.relative = known.relative.max(relative);
                    known.cosine = known.cosine.min(cosine);
                }
                None => measured.push(MeasuredOutput { output: difference.output.clone(), relative, cosine }),
            }
        }
        certificate.parity = measured;
        engine.plans().cache.certify(&certificate)?;
        println!("{}", engine.plans().cache.plan_path(&certificate.key).display());
    }
    Ok(())
}

/// The way round the version gate: every photograph must agree with the reference engine.
fn accept(arguments: &Arguments, bundle: &Bundle, sizes: &[Size], engine: &mut TensorRt) -> Result<ExitCode> {
    let mut photographs = photographs::read_all(&arguments.photographs)?;
    // One picture many times tells nothing that it does not tell once.
    photographs.sort_by(|a, b| a.rgb.cmp(&b.rgb));
    photographs.dedup_by(|a, b| a.rgb == b.rgb);
    if photographs.len() < gate::LEAST_PHOTOGRAPHS {
        let least = gate::LEAST_PHOTOGRAPHS;
        bail!("--photographs: expected at least {least} different photographs, got {}", photographs.len());
    }
    let mut reference = arguments.reference.start()?;
    let bar = progress::items((photographs.len() * bundle.manifest().sizes.len()) as u64, "reference");
    let golden = parity::make_golden(&mut reference, bundle, &photographs, || bar.inc(1))?;
    bar.finish_and_clear();
    let known = engine.certificates().len();
    let report = parity::check_against(engine, bundle, &golden, sizes)?;
    println!("{report}");
    if !report.passed() {
        println!("FAILED: this TensorRT computes wrongly here, and stays refused");
        return Ok(ExitCode::from(1));
    }
    let compared = engine.certificates()[known..].iter().map(|certificate| certificate.plan_sha256.clone());
    let plans = engine.plans();
    plans.cache.accept(&Acceptance {
        model: plans.model.clone(),
        flavour: plans.library.flavour().name().to_owned(),
        library: plans.library.version().to_string(),
        target: plans.target.describe(),
        precision: plans.precision.name().to_owned(),
        plans: compared.collect(),
        photographs: photographs.len(),
        worst_relative: report.worst().map_or(0.0, |worst| worst.relative),
    })?;
    println!(
        "passed: accepted for this bundle, version, GPU and precision, with the engines that were compared"
    );
    Ok(ExitCode::SUCCESS)
}

fn print_engine(plans: &Plans, network: &Network, certificate: &Certificate, is_new: bool) {
    let attention: usize =
        certificate.kernels.iter().filter(|(kind, _)| kind.contains("mha")).map(|(_, count)| count).sum();
    let kernels: usize = certificate.kernels.values().sum();
    println!(
        "{:10} {:>6.1} MB  {} in {:.1} s, {kernels} kernels, {attention} of them fused attention\n  {}",
        network.name(),
        certificate.plan_bytes as f64 / 1e6,
        if is_new { "built" } else { "in the cache, built" },
        certificate.build_secs,
        plans.cache.plan_path(&certificate.key).display()
    );
}
