"""Plugins of os-vif: what plugs guests' interfaces into switches."""
