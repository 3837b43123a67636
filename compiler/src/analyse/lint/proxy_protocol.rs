//! POL307

use super::page;

page! {
    /// A transparent proxy takes only TCP and UDP, and a packet needs a socket of its own family. What is sent
    /// to the proxy beyond that could not be delivered.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// proxy box {
    ///   listen tcp at 127.0.0.1:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   down   deny
    /// }
    ///
    /// steer { proxy udp/443 from 192.0.2.0/24 via box }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// proxy box {
    ///   listen tcp, udp at 127.0.0.1:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   down   deny
    /// }
    ///
    /// steer { proxy udp/443 from 192.0.2.0/24 via box }
    /// ```
    pub(super) static PAGE: ProxyProtocol Error, Exact
}
