//! An agent that speaks TLS through rustls: `rustls-agent PORT CERTIFICATE COUNT`, the certificate as PEM.
//! On one connection to 127.0.0.1 it asks for `/one-0` and so on, as a whole, and posts to `/two-0` and so
//! on, in pieces, each as often as `COUNT` says.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    SignatureScheme, StreamOwned,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rustls-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().context("wanted PORT CERTIFICATE COUNT");
    let (port, file, count) = (next()?.parse()?, next()?, next()?.parse::<u32>()?);
    let provider = Arc::new(ring::default_provider());
    let trusted = CertificateDer::from_pem_file(&file).with_context(|| file)?;
    let verifier = Arc::new(Known { certificate: trusted, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    let mut stream = StreamOwned::new(connection, socket);
    for n in 0..count {
        let head = format!("GET /one-{n} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        answer(&mut stream)?;
        // More than one of TLS's records has, and than is copied in one go.
        let content = "x".repeat(40_000 + n as usize);
        let head = format!(
            "POST /two-{n} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n",
            content.len()
        );
        let mut pieces = &mut [IoSlice::new(head.as_bytes()), IoSlice::new(content.as_bytes())][..];
        while !pieces.is_empty() {
            let written = stream.write_vectored(pieces)?;
            ensure!(written > 0, "nothing more is taken");
            IoSlice::advance_slices(&mut pieces, written);
        }
        answer(&mut stream)?;
    }
    Ok(())
}

/// Reads an answer to its end.
fn answer(stream: &mut impl Read) -> Result<()> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?.to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200 "), "it said: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("no length")?.parse()?;
    stream.read_exact(&mut vec![0; length])?;
    Ok(())
}

/// One certificate is trusted, whatever it is for.
#[derive(Debug)]
struct Known {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match *shown == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
