//! A server with its egress door open, a service behind real TLS, and a host that is passed on.

use crate::{
    mtls::world::{Authority, dns},
    stage::PLACET,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_testkit::{Server, Story, until};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};
use tokio::{io::copy_bidirectional, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

pub(super) const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

const SERVICE: &str = "service: safe
base_url: https://SAFE
auth: {type: bearer}
actions:
  orders.peek:
    method: GET
    path: /safe/{customer_id}/{order_id}
    resource: order://customer:{customer_id}/{order_id}
    effect: read
    params:
      type: object
      properties: {customer_id: {type: string}, order_id: {type: string}}
      required: [customer_id, order_id]
      additionalProperties: false
  orders.refs:
    method: GET
    path: /git/{customer_id}/info/refs
    resource: order://customer:{customer_id}
    effect: read
    params:
      type: object
      properties: {customer_id: {type: string}, service: {type: string}}
      required: [customer_id]
      additionalProperties: false
  notes.put:
    method: POST
    path: /safe/{customer_id}/notes
    resource: order://customer:{customer_id}
    effect: write
    params:
      type: object
      properties: {customer_id: {type: string}, text: {type: string}}
      required: [customer_id, text]
      additionalProperties: false
";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// TLS as `localhost` in front of what is in `target` by then; answers where.
fn front(authority: &Authority, target: Arc<OnceLock<SocketAddr>>) -> SocketAddr {
    let own = authority.for_servers(vec![dns("localhost")]);
    let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = RUNTIME.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    RUNTIME.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), Arc::clone(&target));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let Ok(mut behind) = tokio::net::TcpStream::connect(target.get().unwrap()).await else {
                    return;
                };
                let _ = copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
    address
}

pub(super) struct World {
    pub(super) story: Story,
    /// Has certified the upstreams.
    pub(super) upstreams: Authority,
    /// The service's host and port.
    pub(super) safe: String,
    /// The host and port that are passed on.
    pub(super) pass: String,
}

/// The one server.
pub(super) fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(World::new);
    &WORLD
}

impl World {
    pub(super) fn new() -> Self {
        let upstreams = Authority::new();
        let target = Arc::new(OnceLock::new());
        let at = |address: SocketAddr| format!("localhost:{}", address.port());
        let safe = at(front(&upstreams, Arc::clone(&target)));
        let pass = at(front(&upstreams, Arc::clone(&target)));
        let mut server = Server::start(PLACET);
        let authority = server.home().join("upstreams.crt");
        fs::write(&authority, &upstreams.pem).unwrap();
        let authority = authority.to_str().unwrap();
        server.flags(&[
            "--egress-listen",
            "127.0.0.1:0",
            "--upstream-ca",
            authority,
            "--egress-pass",
            &pass,
            // It is a service's, so it is not passed on all the same.
            "--egress-pass",
            &safe,
        ]);
        server.restart();
        let story = Story::on(server);
        target.set(story.shop.base().strip_prefix("http://").unwrap().parse().unwrap()).unwrap();
        story.service("safe", &SERVICE.replace("SAFE", &safe)).expect(201);
        story.connection("safe-main", "safe", &serde_json::json!({})).expect(201);
        Self { story, upstreams, safe, pass }
    }

    /// The door's host and port; others after each start.
    pub(super) fn door(&self) -> String {
        let door = fs::read_to_string(self.story.server.data().join("egress-address")).unwrap();
        door.trim().strip_prefix("http://").unwrap().to_owned()
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.door()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes to the door, and reads until it closes or says nothing more.
    pub(super) fn ask(&self, bytes: &str) -> Answer {
        let mut stream = self.dial();
        stream.write_all(bytes.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    /// The answer to `CONNECT` where it opens nothing.
    pub(super) fn connect(&self, user: &str, token: &str, authority: &str) -> Answer {
        let mut stream = self.dial();
        write!(
            stream,
            "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n{}\r\n",
            credential(user, token)
        )
        .unwrap();
        Answer::head(&mut stream)
    }

    /// An open tunnel, without TLS in it yet.
    pub(super) fn opened(&self, user: &str, token: &str, authority: &str) -> TcpStream {
        let mut stream = self.dial();
        write!(
            stream,
            "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n{}\r\n",
            credential(user, token)
        )
        .unwrap();
        let answer = Answer::head(&mut stream);
        assert_eq!(answer.status, 200, "{}", answer.text);
        stream
    }

    /// The authorities of the door, as its agents trust them.
    pub(super) fn trusted(&self) -> String {
        let told = self.story.client().get("/v1/egress").send().expect(200);
        told.at("/authorities")
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["certificate"].as_str().unwrap())
            .collect()
    }

    /// A tunnel to the service.
    pub(super) fn tunnel(&self, token: &str) -> Tunnel {
        self.tunnel_as("x", token)
    }

    pub(super) fn tunnel_as(&self, user: &str, token: &str) -> Tunnel {
        Tunnel::over(self.opened(user, token, &self.safe), "localhost", &self.trusted()).unwrap()
    }

    /// A tunnel to the host that is passed on, which has its own certificate.
    pub(super) fn passed(&self, token: &str) -> Tunnel {
        Tunnel::over(self.opened("x", token, &self.pass), "localhost", &self.upstreams.pem).unwrap()
    }
}

/// The header that shows a token.
pub(super) fn credential(user: &str, token: &str) -> String {
    format!("proxy-authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{token}")))
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, text }
    }

    pub(super) fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Self::of(&bytes)
    }

    /// Only the head, and what of the body it says there is.
    fn head(stream: &mut impl Read) -> Self {
        let (mut bytes, mut one) = (Vec::new(), [0]);
        while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut one).unwrap() == 1 {
            bytes.push(one[0]);
        }
        let head = Self::of(&bytes);
        let length = head.text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        Self { text: head.text + &String::from_utf8_lossy(&body), ..head }
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}

/// TLS in a tunnel.
pub(super) struct Tunnel(StreamOwned<ClientConnection, TcpStream>);

impl Tunnel {
    /// Speaks TLS as with `name`, which has to be certified by who is in `roots`.
    pub(super) fn over(stream: TcpStream, name: &str, roots: &str) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
            store.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tunnel =
            Self(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream));
        while tunnel.0.conn.is_handshaking() {
            tunnel.0.conn.complete_io(&mut tunnel.0.sock).map_err(|error| error.to_string())?;
        }
        Ok(tunnel)
    }

    pub(super) fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    pub(super) fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
        self.0.flush().unwrap();
    }

    /// Sends bytes, and reads until the tunnel ends.
    pub(super) fn ask(mut self, text: &str) -> Answer {
        self.send(text);
        Answer::read(&mut self.0)
    }

    /// Reads until `text` has come.
    pub(super) fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        until(text, || {
            let mut some = [0; 4096];
            let count = self.0.read(&mut some).unwrap();
            assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&some[..count]);
            let text = String::from_utf8_lossy(&seen).contains(text);
            text.then(|| String::from_utf8_lossy(&seen).into_owned())
        })
    }

    /// Waits for its end; nothing more comes.
    pub(super) fn ends(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
                "it goes on: {error}"
            ),
        }
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}
