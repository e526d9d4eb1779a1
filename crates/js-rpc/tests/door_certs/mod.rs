//! Certificates for tests: an issuer, and PEM files of those whom it issued one for.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};

/// Someone who issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// The files of a certificate and its key, and what is to be pinned of it.
#[derive(Debug, Clone)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The DER of the public key.
    pub public_key: Vec<u8>,
}

impl Files {
    /// These under the names of others, as a renewal puts them.
    pub fn replace(&self, old: &Self) {
        fs::rename(&self.key, &old.key).unwrap();
        fs::rename(&self.cert, &old.cert).unwrap();
    }

    pub fn cert(&self) -> &str {
        self.cert.to_str().unwrap()
    }

    pub fn key(&self) -> &str {
        self.key.to_str().unwrap()
    }
}

/// How a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Now,
    Past,
    Future,
}

impl Authority {
    /// A new one, of its own key.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let named = rcgen::DnType::CommonName;
        params.distinguished_name.push(named, name);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Writes its own certificate as `name.pem`.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{name}.pem"));
        fs::write(&path, self.0.pem()).unwrap();
        path
    }

    /// Issues a certificate for a name or an address; writes `file.pem` and `file.key`.
    pub fn issue(&self, folder: &Path, file: &str, subject: &str) -> Files {
        self.issue_at(folder, file, subject, Time::Now)
    }

    pub fn issue_at(&self, folder: &Path, file: &str, subject: &str, time: Time) -> Files {
        let mut params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        match time {
            Time::Now => {}
            Time::Past => params.not_after = date_time_ymd(2020, 1, 1),
            Time::Future => params.not_before = date_time_ymd(2999, 1, 1),
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let files = Files {
            cert: folder.join(format!("{file}.pem")),
            key: folder.join(format!("{file}.key")),
            public_key: key.subject_public_key_info(),
        };
        fs::write(&files.cert, cert.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}
