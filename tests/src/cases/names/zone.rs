//! What the cases' resolver knows, and the allow-list that goes with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::dns::{self, AAAA, CNAME, address, answer, name};
use crate::harness::{Ctx, Resolver};

pub(in crate::cases) const AT: &str = "127.0.53.1";
const OTHER: &str = "127.0.53.2";

/// What the cases' resolver knows.
fn zone(asked: &str, question: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let itself = || vec![0xc0, 12];
    let here: IpAddr = match question.get(question.len() - 3) {
        Some(&kind) if u16::from(kind) == AAAA => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    let plain = || answer(question, &[address(itself(), here)]);
    let through = |alias: &str| {
        let records = [(itself(), CNAME, name(alias)), address(name(alias), here)];
        answer(question, &records)
    };
    let message = match asked {
        "silent.test" => return vec![],
        "alias.good.test" => through("cdn.elsewhere.test"),
        "innocent.test" => through("bad.test"),
        "wrong-id.good.test" => {
            let mut message = plain();
            message[1] ^= 1;
            message
        }
        "wrong-owner.good.test" => answer(question, &[address(name("other.test"), here)]),
        "wrong-question.good.test" => {
            let other = dns::question(0x0b5e, "x.good.test", dns::A);
            answer(&other, &[address(itself(), here)])
        }
        "forged.good.test" => return vec![(plain(), true)],
        "loop.good.test" => {
            let at = 12 + u8::try_from(name(asked).len()).unwrap_or(0) + 4;
            answer(question, &[address(vec![0xc0, at], here)])
        }
        _ => plain(),
    };
    vec![(message, false)]
}

pub(in crate::cases) fn resolver() -> Result<Resolver> {
    Resolver::new(AT, OTHER, zone)
}

/// An allow-list: the sample, the resolver, and names at a port.
pub(in crate::cases) fn list(ctx: &Ctx, port: u16) -> Result<String> {
    Ok(format!(
        "default = \"deny\"\nresolvers = [\"{AT}\"]\n\
         [[allow]]\nid = \"sample\"\nexec = {{ program = \"{}\" }}\n\
         [[allow]]\nid = \"resolver\"\nnet = {{ to = [\"127.0.53.0/24\"], port = 53 }}\n\
         [[allow]]\nid = \"good\"\nnet = {{ host = [\"good.test\", \"*.good.test\", \"*.sub.test\"], \
         port = {port} }}\n",
        ctx.agent()?
    ))
}
