//! Wiber and its rivals, side by side in one run.
mod load;
mod process;
use clap::Parser;
#[derive(Debug, Parser)]
enum C { Load(load::LoadArguments) }
fn main() -> anyhow::Result<()> { let C::Load(a) = C::parse(); load::main(&a) }
