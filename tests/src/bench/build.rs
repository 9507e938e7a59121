//! A real build: a `make -j2` of some hundred small files of C, from nothing each time.

use std::ffi::OsString;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::peer::installed;
use crate::harness::Ctx;

/// How many files.
const FILES: u64 = 100;

/// Writes the sources: the command that builds them and how many files there are, or nothing where
/// there is no `make` or no compiler.
pub(super) fn sources(ctx: &Ctx, scale: u64) -> Result<Option<(Vec<OsString>, u64)>> {
    let (Some(make), Some(_)) = (installed("make"), installed("cc")) else { return Ok(None) };
    let dir = ctx.dir.join("build");
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let files = (FILES * scale / 100).max(2);
    let mut objects = String::new();
    for n in 0..files {
        let mut text =
            String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
        for k in 0..20 {
            writeln!(
                text,
                "int f{n}_{k}(int x) {{ char b[64]; snprintf(b, sizeof b, \"%d\", x * {k}); \
                 return atoi(b) + (int)strlen(b); }}"
            )?;
        }
        std::fs::write(dir.join(format!("f{n}.c")), text)?;
        write!(objects, " f{n}.o")?;
    }
    // From nothing: what was made before goes first.
    let makefile = format!(
        "all: clean\n\t@$(MAKE) --no-print-directory lib.a\nclean:\n\t@rm -f *.o lib.a\n\
         lib.a:{objects}\n\t@ar rcs $@ $^\n%.o: %.c\n\t@cc -O1 -c $< -o $@\n.PHONY: all clean\n"
    );
    std::fs::write(dir.join("Makefile"), makefile)?;
    let command = [make.into(), "-s".into(), "-j2".into(), "-C".into(), dir.into()];
    Ok(Some((command.to_vec(), files)))
}
