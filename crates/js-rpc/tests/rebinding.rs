//! Bindings that change while a server runs: sessions that are open keep what they have, new ones get
//! what is there by then.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::{WIRES, Wire, service, socket_dir, unix};
use js_rpc::{
    Address, Args, CallError, ConnectOptions, Connection, Context, Reply, Server, Service, Stub,
    reply,
};

/// Answers with its own name; `keep` gives a stub that does as well, and counts its end.
fn named(name: &'static str, dropped: &Rc<Cell<u32>>) -> impl Service {
    let end = Rc::new(End(Rc::clone(dropped)));
    service(async move |method: &str, _, _: &Context| {
        let _held = &end;
        match method {
            "keep" => reply(&Stub::new(service(async move |_: &str, _, _: &Context| {
                reply(&name)
            }))),
            _ => reply(&name),
        }
    })
}

struct End(Rc<Cell<u32>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

async fn connect(address: &Address, connect: Option<&str>, wire: Wire) -> Connection {
    let options = ConnectOptions {
        connect: connect.map(str::to_owned),
        limits: wire.limits(),
        ..ConnectOptions::default()
    };
    Connection::connect(address, options).await.unwrap()
}

async fn call(connection: &Connection, method: &str) -> Result<Reply, CallError> {
    connection
        .binding("S")
        .call(method, Args::none())
        .send()
        .await
}

async fn name(connection: &Connection) -> String {
    call(connection, "name").await.unwrap().parse().unwrap()
}

async fn of(stub: &Stub) -> String {
    let reply = stub.call("name", Args::none()).await;
    reply.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "local")]
async fn open_sessions_keep_their_binding_and_new_ones_get_the_new_one() {
    let (dir, dropped) = (socket_dir(), Rc::new(Cell::new(0)));
    let server = Server::new().service("S", named("first", &dropped));
    let bindings = server.bindings();
    let address = common::serve(server, &unix(&dir, "callee")).await;
    // One that looks names up for each session, and one that has one name for good.
    let kinds = [None, Some("S")];
    for (kind, wire) in kinds
        .into_iter()
        .flat_map(|kind| WIRES.map(|wire| (kind, wire)))
    {
        let connection = connect(&address, kind, wire).await;
        bindings.service("S", named("first", &dropped));
        assert_eq!(name(&connection).await, "first");
        let held: Stub = call(&connection, "keep").await.unwrap().parse().unwrap();

        bindings.service("S", named("second", &dropped));
        assert_eq!(name(&connection).await, "second");
        assert_eq!(of(&held).await, "first");

        assert!(bindings.remove("S") && !bindings.remove("S"));
        let gone = call(&connection, "name").await.unwrap_err();
        let says = "there is no binding \"S\" here; there is: ";
        assert_eq!(gone.message(), says);
        match wire {
            Wire::OneMessage => assert!(matches!(gone, CallError::Refused(_)), "{gone:?}"),
            Wire::ThreeCalls => assert!(matches!(gone, CallError::Thrown(_)), "{gone:?}"),
        }
        assert_eq!(of(&held).await, "first");
    }
    assert!(
        dropped.get() >= 8,
        "what is replaced is not kept: {}",
        dropped.get()
    );
}
