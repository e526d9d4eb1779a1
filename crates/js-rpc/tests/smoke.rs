use js_rpc::*;
use std::cell::Cell;
use std::rc::Rc;

struct Counter(Cell<i64>);
#[async_trait(?Send)]
impl Service for Counter {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "increment" => {
                self.0.set(self.0.get() + args.first::<Option<i64>>()?.unwrap_or(1));
                reply(&self.0.get())
            }
            "fork" => reply(&Stub::new(Counter(self.0.clone()))),
            "object" => {
                #[derive(serde::Serialize)]
                struct R { name: String, counter: Stub }
                reply(&R { name: "n".into(), counter: Stub::new(Counter(self.0.clone())) })
            }
            "back" => {
                let (stub, n): (Stub, i64) = args.parse()?;
                let reply = stub.call("increment", (n,)).await?;
                Ok(reply.into_payload())
            }
            "throw" => Err(JsError::range_error("too far")),
            "panic" => panic!("on purpose"),
            "slow" => { tokio::time::sleep(std::time::Duration::from_secs(5)).await; nothing() }
            _ => unknown_method(method),
        }
    }
    async fn get(&self, property: &str, _cx: &Context) -> ServiceResult {
        reply(&format!("prop {property}"))
    }
}

#[tokio::test(flavor = "local")]
async fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let address: Address = format!("unix:{}/s.sock", dir.path().display()).parse().unwrap();
    let listener = Listener::bind(&address).await.unwrap();
    let front: Address = format!("unix:{}/f.sock", dir.path().display()).parse().unwrap();
    let front_listener = Listener::bind(&front).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::task::spawn_local(Server::new().service("C", Counter(Cell::new(0))).serve([listener], async { let _ = stopped.await; }));
    let _front = tokio::task::spawn_local(Server::new().proxy("C", Proxy::new(address.clone(), "C", ConnectOptions::default())).serve([front_listener], std::future::pending()));
    for at in [&address, &front] {
        let connection = Connection::connect(at, ConnectOptions::default()).await.unwrap();
        let c = connection.binding("C");
        let n: i64 = c.call("increment", (5,)).await.unwrap().parse().unwrap();
        println!("n {n}");
        let stub: Stub = c.call("fork", ()).await.unwrap().parse().unwrap();
        let m: i64 = stub.call("increment", ()).await.unwrap().parse().unwrap();
        assert_eq!(m, n + 1);
        let pending = c.call("object", ()).send();
        let early = pending.pipelined().unwrap();
        let k: i64 = early.call("counter.increment", (10,)).await.unwrap().parse().unwrap();
        assert_eq!(k, n + 10);
        let name: String = early.get("name").await.unwrap().parse().unwrap();
        assert_eq!(name, "n");
        drop(early);
        println!("{:?}", pending.await.unwrap().value());
        let mine = Rc::new(Counter(Cell::new(100)));
        let back: i64 = c.call("back", (Stub::of(mine.clone()), 7)).await.unwrap().parse().unwrap();
        assert_eq!(back, 107);
        let e = c.call("throw", ()).await.unwrap_err();
        assert_eq!(e.to_string(), "RangeError: too far");
        let e = c.call("nope", ()).await.unwrap_err();
        println!("{e}");
        let e = c.call("panic", ()).await.unwrap_err();
        println!("{e}");
        let p: String = c.get("a.b").await.unwrap().parse().unwrap();
        assert_eq!(p, "prop a.b");
        let e = connection.binding("X").call("a", ()).await.unwrap_err();
        println!("{e}");
        let e = c.call("slow", ()).deadline(std::time::Duration::from_millis(50)).await.unwrap_err();
        println!("{e}");
        drop(stub);
    }
    stop.send(()).unwrap();
    println!("abandoned {}", server.await.unwrap());
    let client = Client::connect(front, ConnectOptions::default()).await.unwrap();
    println!("{:?}", client.call("C", "increment", ()).await);
}
