[[ template "further_class" (list . 4) ]]
