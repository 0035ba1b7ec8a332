"""Who somebody is, as an issuer outside vouches for it: reads signed tokens, decides nothing."""
