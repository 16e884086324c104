MUTATIONS=()
class Mutation: pass
