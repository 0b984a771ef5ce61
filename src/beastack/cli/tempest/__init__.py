"""``beastack test --tempest``: upstream's acceptance tests against the running cloud.

Tempest gets a virtual environment of its own, a private workspace in the
site's state directory, and a configuration that says what this cloud is: what
it lacks (routers, volumes, a second host) is declared so, and the tests of it
are skipped and reported as skipped.
"""
