"""lssl_augment"""
