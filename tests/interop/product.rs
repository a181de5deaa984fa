//! Postfix, Exim and OpenSMTPD as processes of their own: in private folders, on free ports of loopback, stopped at the end.
//!
//! Each sends mail for `a.example` to Mitsuke, and everything else to a scripted peer, so that one instance plays the client and the next hop.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use system::process::free_port;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postfix,
    Exim,
    OpenSmtpd,
}

/// How it speaks TLS, to Mitsuke and to whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Off,
    Required,
    /// It sends with TLS and offers it, but its own handshakes fail.
    BrokenServer,
}

/// A running one.
pub(crate) struct Product {
    kind: Kind,
    /// Its SMTP door.
    pub(crate) address: SocketAddr,
    /// SHA-256 of its key, hex.
    pub(crate) pin: String,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Drop for Product {
    fn drop(&mut self) {
        if self.kind == Kind::Postfix {
            drop(
                Command::new("/usr/sbin/postfix")
                    .arg("-c")
                    .arg(self.folder.path().join("etc"))
                    .arg("abort")
                    .output(),
            );
        }
        if let Some(mut child) = self.child.take() {
            // The whole group: these servers have children of their own.
            drop(Command::new("kill").arg("-KILL").arg("--").arg(format!("-{}", child.id())).status());
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

fn user(name: &str) -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd
        .lines()
        .find(|l| l.split(':').next() == Some(name))
        .unwrap_or_else(|| panic!("user {name} is missing: run tests/packages as root"));
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

/// Where `tests/packages` unpacked what excludes Postfix.
fn unpacked(name: &str, program: &str) -> PathBuf {
    let target = system::process::binary();
    let target = target.parent().and_then(Path::parent).unwrap();
    let folder = std::env::var_os("MITSUKE_PEERS")
        .map_or_else(|| target.join("peers"), PathBuf::from)
        .join(name);
    assert!(
        folder.join(program).exists(),
        "{} is missing: run tests/packages as root",
        folder.join(program).display()
    );
    folder
}

impl Product {
    /// Starts it. `mitsuke`: where mail for a.example goes; `onward`: where everything else goes.
    pub(crate) fn start(kind: Kind, tls: Tls, mitsuke: SocketAddr, onward: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("mitsuke-peer-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // OpenSMTPD's key process of this version knows RSA alone.
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let cert = rcgen::CertificateParams::new(vec!["peer.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        write(&folder.path().join("cert.pem"), &cert.pem());
        write(&folder.path().join("key.pem"), &key.serialize_pem());
        use rcgen::PublicKeyData;
        let digest = <sha2::Sha256 as sha2::Digest>::digest(key.subject_public_key_info());
        let pin = digest.iter().map(|b| format!("{b:02x}")).collect();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut product = Self {
            kind,
            address,
            pin,
            folder,
            child: None,
        };
        match kind {
            Kind::Postfix => product.postfix(tls, mitsuke, onward),
            Kind::Exim => product.exim(tls, mitsuke, onward),
            Kind::OpenSmtpd => product.opensmtpd(tls, mitsuke, onward),
        }
        let begun = Instant::now();
        while std::net::TcpStream::connect(product.address).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{kind:?} does not answer: {}",
                product.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        product
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        for name in ["log.txt", "mail.log", "log/main", "log/mainlog", "log/paniclog"] {
            text.push_str(&std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default());
        }
        text
    }

    fn postfix(&mut self, tls: Tls, mitsuke: SocketAddr, onward: SocketAddr) {
        let at = self.folder.path().to_owned();
        let shown = at.display();
        for name in ["queue", "data"] {
            std::fs::create_dir_all(at.join(name)).unwrap();
        }
        let (uid, gid) = user("postfix");
        chown(at.join("data"), Some(uid), Some(gid)).unwrap();
        std::fs::set_permissions(at.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let (client, server) = match tls {
            Tls::Off => ("none", "none"),
            Tls::Required | Tls::BrokenServer => ("encrypt", "may"),
        };
        write(
            &at.join("etc/main.cf"),
            &format!(
                "compatibility_level = 3.6\nqueue_directory = {shown}/queue\ndata_directory = {shown}/data\ncommand_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\n\
                 shlib_directory = /usr/lib/postfix\nmeta_directory = /etc/postfix\nsendmail_path = /usr/sbin/sendmail\nnewaliases_path = /usr/bin/newaliases\nmailq_path = /usr/bin/mailq\n\
                 setgid_group = postdrop\nmail_owner = postfix\ninet_protocols = ipv4\ninet_interfaces = 127.0.0.1\nmyhostname = postfix.peer.example\nmydestination =\nlocal_recipient_maps =\n\
                 alias_maps =\nalias_database =\nlocal_transport = error:no local mail\nmynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject\nsmtpd_peername_lookup = no\n\
                 transport_maps = inline:{{ {{ a.example = smtp:[127.0.0.1]:{} }} }}\ndefault_transport = smtp:[127.0.0.1]:{}\nsmtp_dns_support_level = disabled\nsmtp_host_lookup = native\n\
                 smtp_tls_security_level = {}\nsmtp_tls_policy_maps = inline:{{ {{ [127.0.0.1]:{} = {client} }} }}\nsmtpd_tls_security_level = {server}\nsmtpd_tls_chain_files = {shown}/key.pem, {shown}/cert.pem\n\
                 maillog_file = {shown}/mail.log\nmaillog_file_prefixes = {shown}\nmessage_size_limit = 60000000\nsmtputf8_enable = yes\n",
                mitsuke.port(),
                onward.port(),
                "none",
                mitsuke.port(),
            ),
        );
        let services = [
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "verify unix - - n - 1 verify",
            "flush unix n - n 1000? 0 flush",
            "proxymap unix - - n - - proxymap",
            "proxywrite unix - - n - 1 proxymap",
            "smtp unix - - n - - smtp",
            "relay unix - - n - - smtp",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "discard unix - - n - - discard",
            "anvil unix - - n - 1 anvil",
            "scache unix - - n - 1 scache",
            "showq unix n - n - - showq",
            "postlog unix-dgram n - n - 1 postlogd",
        ];
        write(
            &at.join("etc/master.cf"),
            &format!("{} inet n - n - - smtpd\n{}\n", self.address, services.join("\n")),
        );
        let out = Command::new("/usr/sbin/postfix")
            .arg("-c")
            .arg(at.join("etc"))
            .arg("start")
            .output()
            .expect("postfix is missing: run tests/packages as root");
        assert!(
            out.status.success(),
            "postfix does not start: {}{}",
            String::from_utf8_lossy(&out.stderr),
            self.log()
        );
    }

    fn exim(&mut self, tls: Tls, mitsuke: SocketAddr, onward: SocketAddr) {
        let at = self.folder.path().to_owned();
        let shown = at.display();
        let (uid, gid) = user("Debian-exim");
        // It starts itself anew for each delivery, by path, in a clean environment.
        let exim = unpacked("exim", "usr/sbin/exim4");
        let (program, libraries) = (exim.join("usr/sbin/exim4"), exim.join("usr/lib/x86_64-linux-gnu"));
        // A set-uid program would not look into our folder for its libraries.
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["spool", "log"] {
            std::fs::create_dir_all(at.join(name)).unwrap();
            chown(at.join(name), Some(uid), Some(gid)).unwrap();
        }
        let (to_mitsuke, advertise) = match tls {
            Tls::Off => ("hosts_avoid_tls = *", "tls_advertise_hosts ="),
            Tls::Required | Tls::BrokenServer => (
                "hosts_require_tls = *\n  tls_verify_hosts =\n  tls_try_verify_hosts =",
                "tls_advertise_hosts = *",
            ),
        };
        write(
            &at.join("exim.conf"),
            &format!(
                "primary_hostname = exim.peer.example\nspool_directory = {shown}/spool\nlog_file_path = {shown}/log/%slog\npid_file_path = {shown}/exim.pid\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = {}\n\
                 {advertise}\ntls_certificate = {shown}/cert.pem\ntls_privatekey = {shown}/key.pem\ndsn_advertise_hosts = *\nsmtputf8_advertise_hosts = *\nchunking_advertise_hosts = *\nmessage_size_limit = 60M\n\
                 acl_smtp_rcpt = everyone\nacl_smtp_data = everyone\nhost_lookup =\nrfc1413_hosts =\nexim_path = {}\nkeep_environment =\nadd_environment = LD_LIBRARY_PATH={}\nbounce_return_size_limit = 10K\n\
                 begin acl\neveryone:\n  accept\n\nbegin routers\n\
                 to_mitsuke:\n  driver = manualroute\n  domains = a.example\n  transport = mitsuke\n  route_list = * 127.0.0.1::{}\n  self = send\n\n\
                 onward:\n  driver = manualroute\n  transport = onward\n  route_list = * 127.0.0.1::{}\n  self = send\n\n\
                 begin transports\n\
                 mitsuke:\n  driver = smtp\n  allow_localhost\n  hosts_try_chunking = *\n  {to_mitsuke}\n\n\
                 onward:\n  driver = smtp\n  allow_localhost\n  hosts_avoid_tls = *\n  hosts_try_chunking =\n\n",
                self.address.port(),
                program.display(),
                libraries.display(),
                mitsuke.port(),
                onward.port(),
            ),
        );
        chown(at.join("key.pem"), Some(uid), Some(gid)).unwrap();
        self.run(
            Command::new(&program)
                .env("LD_LIBRARY_PATH", &libraries)
                .args(["-bdf", "-q1m", "-C"])
                .arg(at.join("exim.conf")),
        );
    }

    fn opensmtpd(&mut self, tls: Tls, mitsuke: SocketAddr, onward: SocketAddr) {
        let at = self.folder.path().to_owned();
        let shown = at.display();
        let (queue_uid, queue_gid) = user("opensmtpq");
        user("opensmtpd");
        std::fs::set_permissions(at.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
        for (name, mode, owner) in [
            ("spool", 0o711, None),
            ("spool/queue", 0o700, Some(queue_uid)),
            ("spool/incoming", 0o700, Some(queue_uid)),
            ("spool/purge", 0o700, Some(queue_uid)),
            ("spool/temporary", 0o700, Some(queue_uid)),
            ("spool/corrupt", 0o700, Some(queue_uid)),
            ("spool/offline", 0o770, None),
        ] {
            std::fs::create_dir_all(at.join(name)).unwrap();
            std::fs::set_permissions(at.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
            chown(at.join(name), owner, (name == "spool/offline").then_some(queue_gid)).unwrap();
        }
        let (listen, scheme) = match tls {
            Tls::Off => ("", "smtp+notls"),
            Tls::Required | Tls::BrokenServer => (" tls pki peer", "smtp+tls"),
        };
        let relay = if tls != Tls::Off { " tls no-verify" } else { "" };
        write(
            &at.join("smtpd.conf"),
            &format!(
                "pki peer cert \"{shown}/cert.pem\"\npki peer key \"{shown}/key.pem\"\nsmtp max-message-size 60M\nlisten on 127.0.0.1 port {}{listen} hostname opensmtpd.peer.example\n\
                 action \"mitsuke\" relay host {scheme}://127.0.0.1:{}{relay}\naction \"onward\" relay host smtp+notls://127.0.0.1:{}\n\
                 match from any for domain \"a.example\" action \"mitsuke\"\nmatch from any for any action \"onward\"\n",
                self.address.port(),
                mitsuke.port(),
                onward.port(),
            ),
        );
        let smtpd = unpacked("opensmtpd", "usr/sbin/smtpd");
        // Its spool and socket have fixed places: it gets its own of them in a mount namespace.
        let script = format!(
            "mount --bind {shown}/spool /var/spool/smtpd && mount -t tmpfs tmpfs /run && exec {} -d -f {shown}/smtpd.conf",
            smtpd.join("usr/sbin/smtpd").display()
        );
        self.run(
            Command::new("unshare")
                .args(["-m", "sh", "-c", &script])
                .env("LD_LIBRARY_PATH", smtpd.join("usr/lib/x86_64-linux-gnu")),
        );
    }

    fn run(&mut self, command: &mut Command) {
        use std::os::unix::process::CommandExt;
        let log = std::fs::File::create(self.folder.path().join("log.txt")).unwrap();
        let errors = log.try_clone().unwrap();
        let child = command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.child = Some(child.unwrap());
    }
}
