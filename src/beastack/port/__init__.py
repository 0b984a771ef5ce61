"""All that stock OpenStack needs to run here, at upstream's own extension points."""
