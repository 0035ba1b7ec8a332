"""The wiring: settings, client, registry, health, the embedded stack. It decides no business
rule.
"""
