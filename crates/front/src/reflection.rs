//! gRPC server reflection, v1 and v1alpha, from a descriptor set. The only guest of tonic here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::codegen::Service;
use tonic_reflection::server::Builder;

use crate::body::Body;
use crate::error::FrontError;

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Serve = Box<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

pub(crate) struct Reflection {
    v1: Serve,
    v1alpha: Serve,
}

impl Reflection {
    pub(crate) fn new(descriptor_set: &[u8]) -> Result<Self, FrontError> {
        let broken = |error: tonic_reflection::server::Error| FrontError::Descriptors(error.to_string());
        let builder = || Builder::configure().register_encoded_file_descriptor_set(descriptor_set);
        Ok(Self {
            v1: serve(builder().build_v1().map_err(broken)?),
            v1alpha: serve(builder().build_v1alpha().map_err(broken)?),
        })
    }

    /// Who serves this path, if it is one of reflection's.
    pub(crate) fn at(&self, path: &str) -> Option<&Serve> {
        match path {
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" => Some(&self.v1),
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Some(&self.v1alpha),
            _ => None,
        }
    }
}

fn serve<S>(service: S) -> Serve
where
    S: Service<Request<Incoming>, Response = Response<tonic::body::Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    Box::new(move |request| {
        // Ready at any time: it has no state of a connection.
        let answer = service.clone().call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => response.map(Body::Reflection),
                Err(never) => match never {},
            }
        })
    })
}
