"""What neutron needs: drivers and plug-ins at its own extension points."""
